# %% [markdown]
# # Other ways to ask: do they find the examples that resolve the task?
#
# **The claim.** What asking finds are disambiguating examples, and not merely examples of a rare
# class: that is where its gain comes from (paper, section 6.1). The paper asks by least confidence
# alone.
#
# Before and after it others have asked in other ways, and compared them by accuracy. Here they are
# judged by what the paper is about: how often do they ask for disambiguating examples, and what do
# these labels teach? Some look at predictions (BALD, power least confidence), some at features
# (CoreSet, TypiClust, ProbCover), some at both (BADGE, cluster-margin, DropQuery). Two **controls
# cheat**: they see the answers, and draw at random so that classes, or all groups, are labelled
# equally often. What asking gains beyond balanced classes is not class balance; balanced groups are
# an upper bound. [docs/acquisition.md](../docs/acquisition.md) names the sources. With two classes
# margin and entropy rank as least confidence does.
#
# Real photographs of Waterbirds come first, seen by frozen networks, of which each round trains a
# linear head: 40 labels, then 320 by 20. These results are **ours**: one dataset of photographs,
# small networks, linear heads.
#
# **What would count against it.** Balanced classes that gain as much as least confidence; or a
# function that finds disambiguating examples no more often than random, and still gains as much.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | paper: which data and models the names below stand for
datasets = ["real_waterbirds"]  # names, or folders that hold a manifest
models = []  # names; [] takes each dataset's own
acquisitions = [  # `alpt list acquisitions` names all
    "random",
    "least_confidence",
    "power_least_confidence",
    "bald",
    "badge",
    "cluster_margin",
    "drop_query",
    "core_set",
    "prob_cover",
    "typi_clust",
    "cheating_class_balance",
    "cheating_group_balance",
]
seeds = [1, 11, 21, 31, 41, 51, 61, 71]  # one run per seed and arm
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {"query_batch_size": 20, "eval_every": 4}  # other settings are the dataset's own
recipe = {"backbone": "frozen"}  # a linear head; {} takes each dataset's own, which may fine-tune
settings = {  # further runs: what each changes of the above; {} for none
    "pretrained otherwise": {
        "models": ["mobilenet-imagenet", "mobilenet-birds", "mobilenet-insects"],
        "acquisitions": [
            "random",
            "least_confidence",
            "badge",
            "cheating_class_balance",
            "cheating_group_balance",
        ],
    },
    "seed set of 4": {
        "protocol": {"seed_set_size": 4},
        "acquisitions": ["random", "least_confidence", "badge"],
    },
    "seed set of 10": {
        "protocol": {"seed_set_size": 10},
        "acquisitions": ["random", "least_confidence", "badge"],
    },
    "seed set of 40, drawn": {
        "protocol": {"seed_set": "random"},
        "acquisitions": ["random", "least_confidence", "badge"],
    },
    "4 labels, then 36 by 4": {
        "protocol": {"seed_set_size": 4, "budget": 36, "query_batch_size": 4, "eval_every": 9},
        "acquisitions": [
            "random",
            "least_confidence",
            "badge",
            "core_set",
            "prob_cover",
            "typi_clust",
        ],
    },
    "80 labels by 1": {
        "protocol": {"budget": 80, "query_batch_size": 1, "eval_every": 80},
        "acquisitions": ["random", "least_confidence"],
    },
    "80 labels by 5": {
        "protocol": {"budget": 80, "query_batch_size": 5, "eval_every": 80},
        "acquisitions": ["random", "least_confidence", "power_least_confidence", "badge"],
    },
    "80 labels by 20": {
        "protocol": {"budget": 80, "eval_every": 80},
        "acquisitions": ["random", "least_confidence", "power_least_confidence", "badge"],
    },
    "80 labels by 80": {
        "protocol": {"budget": 80, "query_batch_size": 80},
        "acquisitions": ["random", "least_confidence", "power_least_confidence", "badge"],
    },
}
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
from alpt_lib.registry import title
from companion.report import asking, claims, plotting, readings
from companion.report.study import run_study

plotting.house_style()

# %%
study = run_study("12_other_ways_to_ask", globals())

# %% [markdown]
# ## Each way of asking, side by side
# Final gains over random sampling, paired by seed; how often disambiguating examples, and those of
# the rarest class, are asked for, as multiples of their share of the pool (random should be at 1);
# and how long one query takes. Brackets are 95% intervals over seeds (Student's t). The time is
# that of one query on the machine that drew this page, predictions included, with nearly all labels
# there.

# %%
gains = asking.gains_by_setting(study)
study.save_table(gains, "gains_by_setting")
asked = asking.shares_asked(study)
study.save_table(asked, "asked_by_run")
rarest = asking.shares_asked(study, "label")
study.save_table(rarest, "rarest_class_by_run")
times = asking.query_times(study)
study.save_table(times, "query_times")
own = gains[gains.setting == asking.AS_ABOVE]
columns = {"disambiguating": asked, "rarest class": rarest}
plotting.show_table(asking.side_by_side(own, times, **columns))

# %% [markdown]
# ## Found, and gained
# If finding disambiguating examples is what makes labels worth their price, the order of the first
# panel should be that of the second.
#
# **Figure.** Acquisition functions, ordered by how often they ask for disambiguating examples, as a
# multiple of their share of the pool (left, logarithmic), and their final gain over random sampling
# on validation data: on disambiguating examples, and over all. The dashed lines are random
# sampling, black are the controls that cheat. Dots are means over seeds, bars their 95% intervals
# (Student's t).

# %%
place, model = own[["dataset", "model"]].iloc[0]
rows = own[(own.dataset == place) & (own.model == model)]
ratios = asked[(asked.dataset == place) & (asked.model == model)]
shown = [metric for metric in ("accuracy_minority", "accuracy") if metric in set(rows.metric)]
figure = asking.found_and_gained(rows, ratios, shown)
plotting.note_seeds(figure, study.runs)
study.save(figure, "found_and_gained")

# %% [markdown]
# ## Is it only class balance?
# Waterbirds are rarer than landbirds in the pool, so a function that balances the classes may gain
# without having found what settles the task. The controls tell the two apart. What a network was
# pretrained on decides what its questions can see, so here are four.
#
# **Figure.** Final gain over random sampling on disambiguating examples of the real Waterbirds, of
# four networks: asking, beside two controls that cheat. The dashed line is random sampling. Dots
# are means over seeds, bars their 95% intervals (Student's t).

# %%
metric = "accuracy_minority" if "accuracy_minority" in set(own.metric) else own.metric.iloc[0]
few = ["least_confidence", "badge", "cheating_class_balance", "cheating_group_balance"]
is_shown = gains.setting.isin([asking.AS_ABOVE, "pretrained otherwise"]) & (gains.metric == metric)
controls = gains[is_shown & gains.acquisition.isin(few)]
if len(controls):
    titles = {(model,): title(model) for model in controls.model.unique()}
    figure = asking.dots_grid(controls, ["model"], titles)
    plotting.note_seeds(figure, study.runs)
    study.save(figure, "controls")

# %% [markdown]
# ## Other seed sets, other query batches
# Does it hang on where one starts, or on how many labels are asked for at once?
#
# **Figure.** Final gain over random sampling on disambiguating examples of the real Waterbirds,
# Lite0, in other settings: seed sets of 4, 10, and 40 that are drawn rather than balanced, then 320
# labels by 20; a low budget; and 80 labels after 40, asked for by 1, 5, 20, or at once. The dashed
# line is random sampling under the same setting. Dots are means over seeds, bars their 95%
# intervals (Student's t).

# %%
elsewhere = ("pretrained otherwise", "miniatures", asking.FOUNDATION)
others = [name for name in study.settings if name not in elsewhere]
rows = gains[gains.setting.isin(others) & (gains.metric == metric)]
if len(rows):
    titles = {(name,): name for name in others}
    figure = asking.dots_grid(rows, ["setting"], titles)
    plotting.note_seeds(figure, study.runs)
    study.save(figure, "settings")

# %% [markdown]
# ## Does more pretraining ask better?
# The paper leaves open how the gain goes on with the scale of pretraining. Networks that saw a
# million to ten billion images, each frozen, look at the same photographs at the same size. Only
# `--preset real` has them, as far as their weights can be had; nothing is drawn without.
#
# **Figure.** Frozen networks, ordered by how many images they were pretrained on: how often they
# ask for disambiguating examples of Waterbirds, as a multiple of their share of the pool (left),
# and their final gain over random sampling on these (right). The dashed lines are random sampling.
# Dots are means over seeds, bars their 95% intervals (Student's t).

# %%
networks = study.settings.get(asking.FOUNDATION)
if networks:
    rows = gains[(gains.setting == asking.FOUNDATION) & (gains.metric == "accuracy_minority")]
    asked_by = asking.shares_asked(networks)
    study.save_table(asked_by, "asked_by_network")
    figure = asking.by_network(rows, asked_by)
    plotting.note_seeds(figure, networks.runs)
    study.save(figure, "by_network")

# %% [markdown]
# ## Miniatures, frozen
# Small worlds of our own and small networks that stay as pretrained. Only the reference (`--preset
# thorough`) has them; nothing is drawn without. iWildCam and Amazon have no disambiguating groups;
# their rare classes and badly served reviewers stand in.
#
# **Figure.** Final gain over random sampling on frozen miniatures: on disambiguating examples, on
# all classes alike, or on the worst tenth of reviewers; each panel has a scale of its own. Dots
# are means over seeds, bars their 95% intervals (Student's t).

# %%
minis = study.settings.get("miniatures")
if minis:
    last = minis.headline.drop_duplicates(["dataset", "metric"]).groupby("dataset", sort=False)
    chosen = last.tail(1)[["dataset", "metric"]]
    rows = gains[gains.setting == "miniatures"].merge(chosen)
    titles = {}
    for name, metric in chosen.itertuples(index=False):
        words = plotting.name(metric).removeprefix("accuracy, ")
        titles[name, metric] = f"{minis.title(name)}:\n{words}"
    by = ["dataset", "metric"]
    figure = asking.dots_grid(rows, by, titles, sharex=False)
    plotting.note_seeds(figure, minis.runs)
    study.save(figure, "miniatures")

# %% [markdown]
# ## The paper's claims beside ours
# Section 6.1's first, then what others have said of their ways of asking, judged on these runs.

# %%
checked = claims.check_claims("12_other_ways_to_ask", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, checked)

# %% [markdown]
# Others' claims were made for deep networks that are trained as a whole, for many classes, and for
# accuracy on data like the pool; a line that is contradicted here says that the claim does not
# carry over to this setting, not that it was wrong in its own.
#
# Read the first table with the first figure. A function that looks at features alone does not know
# what the model is torn between, so it has no reason to ask for it; one that mixes doubt with
# variety asks for it less often than doubt alone. And one that asks for the rarest class as often
# as the balanced control, but for disambiguating examples hardly more often than random, should end
# where the control ends: it has found a class, not the task. Balanced groups show how much is left.
#
# <details><summary>What would have counted against it</summary>
#
# A control with balanced classes level with least confidence, network for network: then section
# 6.1's gain would be class balance. Where the second figure shows that, for a network, it is.
#
# </details>
