# %% [markdown]
# # What the features know before any label: linear probes
#
# **The claim.** Bird *and* background can be read off a pretrained network's features by a linear
# classifier, far better than off those of a network that is not pretrained, before any fine-tuning
# and after a little of it (paper, section 6.3, Fig. 7). The paper offers this as the reason why
# pretrained models know what to ask: theory says that active learning works well where what matters
# is linear.
#
# The probe is a logistic regression on the activations before the head. It tells apart all
# combinations of the probed attributes, rebalanced to equal shares; one half of the validation
# split trains it and the other tests it, both ways. It is asked three times: before fine-tuning,
# after the seed set, and after one query batch of least confidence. On the real Waterbirds the
# networks stay frozen, so there is one answer, before any label; three initialisations stand for
# networks that are not pretrained.
#
# **What would count against it.** Accuracies of the two networks that do not differ, or differ at
# one stage only.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["real_waterbirds", "waterbirds"]  # names, or folders that hold a manifest
models = {  # of each dataset; "-np" is not pretrained; a plain list serves all
    "real_waterbirds": ["lite0", "lite0-1-np", "lite0-2-np", "lite0-3-np"],
    "waterbirds": ["bit-m", "bit-m-np"],
}
acquisitions = ["least_confidence"]  # random | least_confidence | entropy | margin
seeds = {  # one run per seed and arm; `others` is for the datasets that are not named
    "real_waterbirds": [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101, 111, 121, 131, 141, 151],
    "others": [1, 11, 21, 31, 41, 51, 61, 71],
}
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {"budget": 20, "query_batch_size": 20}  # labels; others: seed_set_size, ...
recipe = {}  # fine-tuning: lr, max_steps, optimizer, ...; {} takes each dataset's own
probe = ["label", "background"]  # attributes that the probe tells apart, all combinations
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
import seaborn as sns

from companion.report import claims, estimates, plotting, readings
from companion.report.study import run_study

plotting.house_style()

# %%
study = run_study("05_linear_probes", globals())

# %% [markdown]
# ## Probe accuracies
# *balanced average* weights all groups alike; *average, weighted as the pool* weights them by their
# share of the training data, which is what the "Average" rows of the paper's Fig. 7 turn out to be.

# %%
rows = study.main[study.main.metric.str.match("probe_accuracy(_train_weighted)?$")].copy()
balanced = (rows.metric == "probe_accuracy") & (rows.subgroup == "all")
weighted = rows.metric == "probe_accuracy_train_weighted"
rows["group"] = rows.subgroup.mask(balanced, "balanced average")
rows["group"] = rows.group.mask(weighted, "average, weighted as the pool")
stages = {-1: "no fine-tuning", 0: "seed set"}
stage = rows["round"].map(lambda number: stages.get(number, "further queries"))
rows["stage"] = stage + "\n(" + rows.n_labels.astype(str) + " labels)"
# frozen features are what they were
is_frozen = rows.dataset.map(lambda name: study.datasets[name].description.modality == "features")
rows = rows[~is_frozen | (rows["round"] == -1)]

# %%
table = estimates.seed_means(rows, ["dataset", "model", "group", "stage"])
study.save_table(table.replace({"stage": {"\n": " "}}, regex=True), "probe_accuracy")
shape = {"index": ["dataset", "model", "group"], "columns": "stage", "sort": False}
plotting.show_table(table.pivot_table(values="mean", **shape).reset_index())

# %% [markdown]
# ## The same as a heat map
# Read each row from left to right: what fine-tuning on a few labels does to features that were
# there before.
#
# **Figure.** Accuracy of a linear probe on the features, by group (rows) and stage (columns),
# pretrained and not. Both panels share one scale of blue, which starts at the level of a guess;
# numbers are means over seeds, after ± half of their 95% interval.

# %%
n_groups = rows[rows.metric == "probe_accuracy"].subgroup.nunique() - 1
scale = {"vmin": 1 / max(n_groups, 1), "vmax": 1, "cmap": "Blues", "cbar": False}
half = (table.ci_high - table["mean"]).map(" ± {:.2f}".format).where(table.n_seeds > 1, "")
table["words"] = table["mean"].map("{:.2f}".format) + half
panels = list(table.groupby(["dataset", "model"], sort=False))
shape = {"index": "group", "columns": "stage", "sort": False}
figure, axes = plotting.grid(len(panels), 2.5, columns=1)
for ax, ((dataset, model), of_panel) in zip(axes[:, 0], panels, strict=True):
    words = of_panel.pivot_table(values="words", aggfunc="first", **shape)
    means = of_panel.pivot_table(values="mean", **shape)
    sns.heatmap(means, annot=words, fmt="", ax=ax, linewidths=1, **scale)
    title = f"{study.title(dataset, model)} (seeds: {of_panel.n_seeds.min()})"
    ax.set(title=title, xlabel="", ylabel="")
    ax.tick_params(left=False, bottom=False, labelrotation=0)
study.save(figure, "linear_probes")

# %% [markdown]
# ## The paper's claims beside ours
# In the claims, a difference between the two networks is taken seed by seed, on the average
# weighted as the pool.

# %%
checked = claims.check_claims("05_linear_probes", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, checked)

# %% [markdown]
# Where bird and background can be read before the first label, a network can notice that a picture
# combines them unusually, and be unsure about it. Where fine-tuning on a few labels lowers the
# probe, the network gives up what its labels did not ask for; that loss is bounded, because every
# round starts again from the initial weights. A frozen network gives up nothing: its features stay.
#
# <details><summary>What would have counted against it</summary>
#
# Panels of the same blue, or one that is darker only before fine-tuning: the features would then
# not explain why only the pretrained network knows what to ask.
#
# </details>
