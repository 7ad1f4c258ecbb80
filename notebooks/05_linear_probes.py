# %% [markdown]
# # What the features know before any label: linear probes
#
# **The claim.** Bird *and* background can be read off a pretrained network's features by a linear classifier, far better than off
# those of a network that is not pretrained, before any fine-tuning and after a little of it (paper, section 6.3, Fig. 7). The
# paper offers this as the reason why pretrained models know what to ask: theory says that active learning works well where
# what matters is linear.
#
# The probe is a logistic regression on the activations before the head. It tells apart all combinations of the probed
# attributes, rebalanced to equal shares; one half of the validation split trains it and the other tests it, both ways.
# It is asked three times: before fine-tuning, after the seed set, and after one query batch of least confidence.
#
# **What would count against it.** Accuracies of the two networks that do not differ, or differ at one stage only.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | paper: which data and models the names below stand for
datasets = ["waterbirds"]  # names, or folders that hold a manifest
models = [
    "bit-m",
    "bit-m-np",
]  # names or timm:NAME, hf:NAME; "-np" is not pretrained; [] takes each dataset's own
acquisitions = ["least_confidence"]  # random | least_confidence | entropy | margin
seeds = [1, 11, 21, 31, 41]  # one run per seed and arm
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {
    "budget": 20,
    "query_batch_size": 20,
}  # labels: seed_set_size, budget, query_batch_size, ...
recipe = {}  # fine-tuning: lr, max_steps, optimizer, ...; {} takes each dataset's own
probe = ["label", "background"]  # attributes that the probe tells apart, all combinations
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
from companion.report import claims, estimates, plotting, study
import matplotlib.pyplot as plt
import seaborn as sns


plotting.house_style()

# %%
study = study.run("05_linear_probes", globals())

# %% [markdown]
# ## Probe accuracies
# *balanced average* weights all groups alike; *average, weighted as the pool* weights them by their share of the training data,
# which is what the "Average" rows of the paper's Fig. 7 turn out to be.

# %%
rows = study.main[
    study.main.metric.isin(["probe_accuracy", "probe_accuracy_train_weighted"])
].copy()
weighted = rows.metric == "probe_accuracy_train_weighted"
rows["group"] = rows.subgroup.mask(rows.subgroup == "all", "balanced average").mask(
    weighted, "average, weighted as the pool"
)
stage = {-1: "no fine-tuning", 0: "seed set"}
rows["stage"] = [
    f"{stage.get(r.round, 'further queries')}\n({r.n_labels} labels)" for r in rows.itertuples()
]
by = ["dataset", "model", "group", "stage"]
table = estimates.interval(rows, by, student=True)
study.save_table(table.replace({"stage": {"\n": " "}}, regex=True), "probe_accuracy")
wide = table.pivot_table(
    index=["dataset", "model", "group"], columns="stage", values="mean", sort=False
).reset_index()
plotting.show_table(wide)

# %% [markdown]
# ## The same as a heat map
# Read each row from left to right: what fine-tuning on a few labels does to features that were there before.
#
# **Figure.** Accuracy of a linear probe on the features, by group (rows) and stage (columns), pretrained and not. Both panels
# share one scale of blue, which starts at the level of a guess; numbers are means over seeds, after ± half of their 95%
# interval.

# %%
panels = list(table.groupby(["dataset", "model"], sort=False))
figure, axes = plt.subplots(
    len(panels), 1, figsize=(plotting.WIDTH, 2.5 * len(panels)), squeeze=False
)
for ax, ((dataset, model), of_panel) in zip(axes[:, 0], panels, strict=True):
    shape = {"index": "group", "columns": "stage", "sort": False}
    words = [
        f"{r.mean:.2f}" + ("" if r.n_seeds < 2 else f" ± {(r.ci_high - r.mean):.2f}")
        for r in of_panel.itertuples()
    ]
    words = of_panel.assign(words=words).pivot_table(values="words", aggfunc="first", **shape)
    n_groups = study.main[study.main.metric == "probe_accuracy"].subgroup.nunique() - 1
    sns.heatmap(
        of_panel.pivot_table(values="mean", **shape),
        annot=words,
        fmt="",
        vmin=1 / max(n_groups, 1),
        vmax=1,
        cmap="Blues",
        cbar=False,
        ax=ax,
        linewidths=1,
    )
    ax.set(
        title=f"{study.title(dataset, model)} (seeds: {of_panel.n_seeds.min()})",
        xlabel="",
        ylabel="",
    )
    ax.tick_params(left=False, bottom=False, labelrotation=0)
study.save(figure, "linear_probes")

# %% [markdown]
# ## The paper's claims beside ours
# In the claims, a difference between the two networks is taken seed by seed, on the average weighted as the pool.

# %%
claims.show_claims(claims.check_claims("05_linear_probes", study))

# %% [markdown]
# ## What we read from it
# A pretrained column far above its twin says that both features, the intended and the spurious one, are there to be read
# before the first label. The network can then notice that a picture combines them unusually, and be unsure about it. Where
# fine-tuning on a few labels lowers the probe, the network gives up what its labels did not ask for; that loss is bounded,
# because every round starts again from the pretrained weights.
#
# **What would have counted against it.** Two panels of the same blue, or one that is darker only before fine-tuning: the
# features would then not explain why only the pretrained network knows what to ask.
