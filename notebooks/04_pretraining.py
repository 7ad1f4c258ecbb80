# %% [markdown]
# # Pretraining is what makes asking work
#
# **The claim.** Only pretrained models gain from choosing their examples: the same network from
# random weights gains nothing or loses, and finds disambiguating examples far less often (paper,
# section 6.2, Fig. 6, and Appendix G). Broader pretraining helps where narrow pretraining does not
# yet; a deeper network makes no difference.
#
# On the **real Waterbirds** (frozen networks, a linear head each round) the question goes further:
# *what* must pretraining know? One architecture, MobileNetV2, is pretrained on iNaturalist's birds,
# on ImageNet, or on iNaturalist's insects; EfficientNet-Lite0 and the deeper -Lite2 on ImageNet,
# Lite0 not at all, from three initialisations. The paper supposes that specialised models may be
# needed (section 6.5). On the **miniature** Waterbirds (fine-tuned) the *not pretrained* network
# starts from random weights. All arms of a seed share the seed set. Treeperson, iWildCam, digits
# and Amazon with their twins, a deeper BiT-M and the narrowly pretrained BiT-S are part of the
# committed reference (`--preset thorough`).
#
# **What would count against it.** A network without pretraining that gains from asking, or gains as
# much as its pretrained twin: the interval of the difference between their gains would include 0.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["real_waterbirds", "waterbirds"]  # names, or folders that hold a manifest
models = {  # of each dataset; one not named here takes its own model; a plain list serves all
    "real_waterbirds": [
        "lite0",
        "lite2",
        "mobilenet-birds",
        "mobilenet-imagenet",
        "mobilenet-insects",
        "lite0-1-np",
        "lite0-2-np",
        "lite0-3-np",
    ],
    "waterbirds": ["bit-m", "bit-m-np"],
}
acquisitions = ["random", "least_confidence"]  # random | least_confidence | entropy | margin
seeds = {  # one run per seed and arm; `others` is for the datasets that are not named
    "real_waterbirds": [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101, 111, 121, 131, 141, 151],
    "others": [1, 11, 21, 31, 41, 51, 61, 71],
}
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {}  # labels: seed_set_size, budget, query_batch_size, ...; {} takes each dataset's own
recipe = {}  # fine-tuning: lr, max_steps, optimizer, ...; {} takes each dataset's own
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
import pandas as pd

from companion.report import asking, claims, estimates, plotting, readings
from companion.report.study import run_study

plotting.house_style()

# %%
study = run_study("04_pretraining", globals())

# %% [markdown]
# ## What each model gains by asking
# Final difference to random sampling, paired by seed, with a 95% interval (Student's t).

# %%
by = ["dataset", "model", "metric"]
final = estimates.last_rounds(study.headline)
table = estimates.paired_gains(final, by)
study.save_table(table, "gains_by_model")
plotting.show_table(table)

# %% [markdown]
# ## Final accuracy of every model
# Where the blue bar stands above the grey one, asking paid.
#
# **Figure.** Validation accuracy after the last round, by model; a row a dataset, left what the
# paper averages over, right disambiguating examples, all species counted alike, or the worst-served
# reviewers. Grey: random sampling, blue: least confidence. Bars are means over seeds, whiskers
# their 95% intervals.

# %%
names = list(study.datasets)
figure, axes = plotting.grid(len(names), 2.2)
labels = {"ylabel": "validation accuracy", "ylim": (0, 1)}
for row, dataset in zip(axes, names, strict=True):
    of_dataset = final[final.dataset == dataset]
    for ax in row[of_dataset.metric.nunique() :]:
        ax.set_visible(False)
    for ax, (metric, rows) in zip(row, of_dataset.groupby("metric", sort=False), strict=False):
        title = f"{study.title(dataset)}\n{plotting.name(metric)}"
        plotting.bars(ax, rows, "model", title=title, **labels)
plotting.legend(figure, axes[0, 0])
plotting.note_seeds(figure, study.runs)
study.save(figure, "final_accuracy")
study.save_table(estimates.seed_means(final, [*by, "acquisition"]), "final_accuracy")

# %% [markdown]
# ## What they ask for (Appendix G)
# A network that gains by asking should be the one that finds the disambiguating examples.
#
# **Figure.** Share of disambiguating examples in each query batch (of more than 16, neighbours
# together) of least confidence, by model; dashed, their share of the pool. Lines are means over
# seeds, bands their 95% intervals.

# %%
patterns = {}
for name, data in study.datasets.items():
    asked = study.acquisitions[study.acquisitions.dataset == name]
    if data.minority and "least_confidence" in set(asked.acquisition):
        patterns[name] = estimates.share_by_round(asked, "subgroup", data.minority)
if patterns:
    by = ["dataset", "model", "acquisition", "round"]
    table_of_shares = estimates.seed_means(pd.concat(patterns.values()), by)
    study.save_table(table_of_shares, "acquisition_patterns")

# %%
if patterns:
    figure, axes = plotting.panels(len(patterns))
    labels = {"xlabel": "round", "ylabel": "share of the batch", "ylim": (0, None)}
    options = {"by": "model", "x": "round", "colours": plotting.MODEL_COLOURS, **labels}
    for ax, (dataset, shares) in zip(axes, patterns.items(), strict=True):
        asked = shares[shares.acquisition == "least_confidence"]
        plotting.curve(ax, asked, title=study.title(dataset), **options)
        plotting.pool_line(ax, estimates.minority_share(study.datasets[dataset]))
    plotting.note_seeds(figure, study.runs)
    study.save(figure, "acquisition_patterns")

# %% [markdown]
# ## Do they ask for the same examples?
# Networks that see the same thing in a picture should be unsure of the same pictures.
#
# **Figure.** Percent of least confidence's questions, over the whole budget, that two networks have
# in common; they began with the same seed set. On the diagonal: the same network from two seed
# sets. The title says how many would be by chance, and over how many seeds these are means.

# %%
common = asking.in_common(study)
of_pair = ["pool", "network", "other", "by_chance"]
shares_in_common = estimates.seed_means(common, of_pair)
study.save_table(shares_in_common, "questions_in_common")
n_networks = common.groupby("pool", sort=False).network.nunique()
if n_networks.max() > 2:
    pool = n_networks.idxmax()
    rows = common[common.pool == pool]
    figure, axes = plotting.grid(1, 1.4 + 0.34 * n_networks.max(), columns=1)
    chance = f"% in common ({rows.by_chance.iloc[0]:.0%} by chance), seeds: {rows.seed.nunique()}"
    asking.draw_in_common(axes[0, 0], rows, title=f"{study.title(pool)}\n{chance}")
    study.save(figure, "questions_in_common")
plotting.show_table(shares_in_common)

# %% [markdown]
# ## The paper's claims beside ours

# %%
checked = claims.check_claims("04_pretraining", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, checked, readings.unclaimed(study, table))

# %% [markdown]
# The paper's statement has two halves. That pretrained models gain more is judged by the difference
# between twins, seed by seed. That models without pretraining gain *nothing* is a claim of its own:
# it is supported only where the whole interval lies below a gain of 0.02, and contradicted only
# where the whole of it lies above, even where the pretrained twin gains far more. A network that
# cannot tell the subgroups apart has nothing to be unsure about: its curve in the last figure
# should stay near the dashed line. Where notebook 01 has the same comparison it may rest on other
# seeds.
#
# <details><summary>What would have counted against it</summary>
#
# A gain of a network that is not pretrained, as large as its pretrained twin's; or curves of
# networks without pretraining that climb as far above the dashed line as the others.
#
# </details>
