# %% [markdown]
# # Imperfect oracles: where does asking stop paying?
#
# **The claim.** Asking is no cure-all: it needs labels that are relatively free of noise, and it
# cannot elicit labels of examples that the pool does not hold (paper, section 8).
#
# The paper states these limits and does not measure them. Here they are measured on the real
# Waterbirds, one change at a time; what is evaluated stays clean:
#
# - an oracle that names the **wrong class** for 10 to 30% of all examples, or for as many of the
#   disambiguating ones alone (a person whom the background misleads);
# - an oracle that **cannot tell**: the question is paid, the example leaves the pool, and nothing
#   is learned from it;
# - pools in which 5% down to none of the examples are **disambiguating**, drawn anew from the
#   original's training and test images, 3,000 each;
# - pools that hold every example two or four times.
#
# Seed sets are drawn from what the oracle says, so they hold its errors, but no example of which it
# cannot tell. Query batches hold 20, four times the paper's. These results are **ours**: one draw
# of each oracle and pool, a small frozen network, linear heads. The reference does the same to the
# miniatures.
#
# **What would count against it.** A gain over random sampling that is as large with 30% of the
# labels wrong as with none, or a gain where the pool holds no disambiguating example at all.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | paper: which data and models the names below stand for
datasets = [  # the unchanged one first; data_prep/resampled.py makes the others, of any dataset
    "real_waterbirds",
    "real_waterbirds_wrong_10",
    "real_waterbirds_wrong_20",
    "real_waterbirds_wrong_30",
    "real_waterbirds_wrong_minority_10",
    "real_waterbirds_wrong_minority_20",
    "real_waterbirds_wrong_minority_30",
    "real_waterbirds_unsure_30",
    "real_waterbirds_unsure_minority_30",
    "real_waterbirds_unsure_minority_60",
    "real_waterbirds_matched_95",
    "real_waterbirds_matched_98",
    "real_waterbirds_matched_99",
    "real_waterbirds_matched_100",
    "real_waterbirds_copies_2",
    "real_waterbirds_copies_4",
]
models = []  # names or timm:NAME, hf:NAME; "-np" is not pretrained; [] takes each dataset's own
acquisitions = ["random", "least_confidence"]  # random | least_confidence | entropy | margin
seeds = [1, 11, 21, 31, 41, 51, 61, 71]  # one run per seed and arm
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {"query_batch_size": 20, "eval_every": 2}  # labels; the rest is each dataset's own
recipe = {"backbone": "frozen"}  # a linear head; {} takes each dataset's own, which may fine-tune
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
from companion.report import claims, estimates, oracles, plotting, readings
from companion.report.study import run_study

plotting.house_style()

# %%
study = run_study("15_imperfect_oracles", globals())
conditions = oracles.conditions(study)

# %% [markdown]
# ## What asking gains from each oracle and pool
# Final difference to random sampling with the same oracle and pool, paired by seed, with a 95%
# interval (Student's t). `disambiguating asked` is the share of disambiguating examples among the
# questions of least confidence; `times fewer labels`, how much sooner its mean curve reaches what
# random sampling ends with there (a dash: never, or random sampling gains nothing). Of the first
# dataset; the others are in `gain_by_oracle.csv`.

# %%
final = estimates.last_rounds(study.headline).merge(conditions, on="dataset")
table = estimates.paired_gains(final, ["source", "panel", "level", "dataset", "metric"])
saved = estimates.savings(study.headline, ["dataset", "metric"])
table = table.join(saved, on=["dataset", "metric", "acquisition"])
asked = study.acquisitions[study.acquisitions["round"] > 0]
minority = {name: set(data.minority) for name, data in study.datasets.items()}
wanted = [row.subgroup in minority[row.dataset] for row in asked.itertuples()]
share = asked.assign(disambiguating_asked=wanted).groupby(["dataset", "acquisition"])
share = share.disambiguating_asked.mean()
table = table.join(share, on=["dataset", "acquisition"]).drop(columns="dataset")
study.save_table(table, "gain_by_oracle")
first = conditions.source[0]
shown = table[table.source == first].drop(columns="source")
plotting.show_table(shown.assign(level=shown.level.map("{:g}".format)))

# %% [markdown]
# ## Where does it stop paying?
# A line that falls to 0 has lost what asking gained; below 0 random sampling does better.
#
# **Figure.** The gain over random sampling after the last round against what is wrong with the
# oracle or the pool, on the first dataset: on all validation examples and on the disambiguating
# examples. Black: no gain. Lines are means over seeds, paired by seed, bands their 95% intervals
# (Student's t).

# %%
gains = estimates.gains_by_seed(final, ["source", "panel", "level", "metric"])
words = gains.metric.map(plotting.name).str.removeprefix("accuracy, ")
words = words.str.removesuffix(" accuracy").str.replace(" by .*| examples", "", regex=True)
gains["measured on"] = words.replace("accuracy", "all")
gains = gains.sort_values("level", kind="stable")
colours = plotting.subgroup_colours(list(dict.fromkeys(gains["measured on"])))
names = list(dict.fromkeys(conditions[conditions.source == first].panel))
figure, axes = plotting.panels(len(names), sharey=True)
for ax, panel in zip(axes, names, strict=True):
    lines = gains[(gains.source == first) & (gains.panel == panel)]
    if len(lines):
        plotting.curve(ax, lines, by="measured on", x="level", colours=colours)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel=panel, ylabel="gain over random")
plotting.note_seeds(figure, study.runs)
study.save(figure, "imperfect_oracles")

# %% [markdown]
# **Figure.** The same on each further dataset, if there is any, where the oracle names wrong
# classes: of all examples (left), of the disambiguating ones alone (right); `gain_by_oracle.csv`
# has the rest. Black: no gain. Lines are means over seeds, paired by seed, bands their 95%
# intervals (Student's t).

# %%
wrong = gains[(gains.source != first) & gains.panel.str.startswith("wrong")]
if len(wrong):
    figure, axes = plotting.panels(len(wrong.drop_duplicates(["source", "panel"])))
    every = wrong.groupby(["source", "panel"], sort=False)
    for ax, ((source, panel), lines) in zip(axes, every, strict=True):
        title = study.title(source)
        plotting.curve(ax, lines, by="measured on", x="level", colours=colours, title=title)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(xlabel=panel, ylabel="gain over random")
    plotting.note_seeds(figure, study.runs)
    study.save(figure, "other_datasets")

# %% [markdown]
# ## What a target costs
# Labels that the mean curve needs for what random sampling ends with on the unchanged dataset (the
# target), seed set and vain questions included; a dash where the budget does not suffice. Where
# random sampling ends no higher than its seed set, there is no target. Of the first dataset; the
# others are in `label_costs.csv`.

# %%
costs = oracles.label_costs(study.headline, conditions.set_index("dataset").source.to_dict())
study.save_table(costs, "label_costs")
index = ["dataset", "metric", "target"]
wide = costs.pivot(index=index, columns="acquisition", values="labels_paid")
of_first = dict.fromkeys(conditions[conditions.source == first].dataset)
plotting.show_table(wide.reindex(list(of_first), level="dataset").reset_index())

# %% [markdown]
# ## The paper's claims beside ours

# %%
checked = claims.check_claims("15_imperfect_oracles", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, checked)

# %% [markdown]
# Wrong labels reach both arms, so a gain is what is left of both; compare the share of
# disambiguating examples in the first table. Errors on disambiguating examples alone are another
# matter: random sampling hardly meets them, while asking goes and finds them, and is taught the
# spurious rule by its own questions. A copy costs a second question for the same answer, for least
# confidence finds it as uncertain as its original.
#
# So before asking, ask what the oracle is worth on the examples that will be asked for, not on
# those of the pool: an error rate measured on a random sample says little about it.
#
# <details><summary>What would have counted against it</summary>
#
# Lines of the first two panels that do not fall, or, at the left end of the fifth, a gain on the
# disambiguating examples as large as at its right end.
#
# </details>
