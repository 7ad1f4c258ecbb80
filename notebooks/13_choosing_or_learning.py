# %% [markdown]
# # Is pretraining needed to choose, or to learn?
#
# **The claim.** Pretraining is what makes asking pay: pretrained features let a model find the
# examples that settle the task, and let it use them (paper, section 6.2, Fig. 6, and 6.3, Fig. 7).
# The paper's experiments cannot tell the two apart, for there whoever chooses also learns.
#
# Here they part: each network's final set (40 + 320 labels, chosen by its own least confidence)
# trains a linear head on every network's frozen features. Nothing is asked anew: the sets are those
# that stored runs acquired, and only the last fits are done here. The baseline of a learner is its
# own fit on the random set of the same seed. These results are **ours**, on one dataset of
# photographs, with small frozen networks and linear heads; nothing follows for networks that are
# fine-tuned.
#
# **What would count against it.** A set chosen by a network without pretraining that serves a
# pretrained learner as well as its own choice: then choosing would need no pretraining. Or a
# network without pretraining that gains from a pretrained one's set: then learning would need none.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["real_waterbirds"]  # names, or folders that hold a manifest
models = ["all"]  # names; [all] takes every network whose features a dataset holds
acquisitions = ["random", "least_confidence"]  # random and the function whose sets are compared
seeds = [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101, 111, 121, 131, 141, 151]  # one run per arm
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {}  # labels: seed_set_size, budget, query_batch_size, ...; {} takes each dataset's own
recipe = {"backbone": "frozen"}  # only heads are fitted again: l2, resize, ...
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
import pandas as pd

from companion.report import claims, estimates, heads_after, plotting, readings
from companion.report.study import run_study

plotting.house_style()

# %%
study = run_study("13_choosing_or_learning", globals())

# %% [markdown]
# ## What each network chose
# The share of disambiguating examples among those asked for, and that share over the pool's.

# %%
shares = []
for name, data in study.datasets.items():
    asked = study.acquisitions[study.acquisitions.dataset == name]
    asked = asked.assign(disambiguating=asked.subgroup.isin(data.minority))
    in_pool = estimates.pool_values(data, "subgroup").isin(data.minority)
    table = estimates.upsampling_by_run(asked, "disambiguating", in_pool)
    shares.append(table[table.disambiguating].drop(columns=["seed", "disambiguating"]))
by = ["dataset", "model", "acquisition"]
table = pd.concat(shares).groupby(by, sort=False).mean(numeric_only=True).reset_index()
study.save_table(table, "chosen")
plotting.show_table(table)

# %% [markdown]
# ## Who chose, who learns

# %%
study.metrics = heads_after.crossed(study)
gains = estimates.paired_gains(study.headline, ["dataset", "model", "metric"])
# networks of other datasets chose nothing here
gains = gains.dropna(subset=["gain"])
table = gains.rename(columns={"acquisition": "chosen_by", "model": "learner"})
study.save_table(table, "gains_by_chooser")
is_first = gains.dataset == gains.dataset.iloc[0]

# %% [markdown]
# A row reads: what this network's choice is worth to each of the others; a column: whose choice
# this network learns most from. The diagonal is what notebook 04 shows.
#
# **Figure.** Gain in validation accuracy over the random set of the same seed on the first dataset,
# above on the disambiguating examples, below on all examples where the dataset names both: rows
# choose, columns learn. ± is half of the 95% interval (Student's t) over seeds, paired by seed;
# bold where it excludes 0. The last row is the accuracy that random sets give.

# %%
panels = list(gains[is_first].groupby(["dataset", "metric"], sort=False))[::-1]
models = list(dict.fromkeys(gains[is_first].model))
figure, axes = plotting.grid(len(panels), 1.6 + 0.4 * len(models), columns=1)
for ax, ((dataset, metric), of_panel) in zip(axes.flat, panels, strict=True):
    n_seeds = of_panel.n_seeds.max()
    title = f"{study.title(dataset)}, {plotting.name(metric)}, {n_seeds} seeds"
    plotting.gain_matrix(ax, of_panel, models, title=title, xlabel="learns", ylabel="chose")
study.save(figure, "choosing_or_learning")

# %% [markdown]
# **Figure.** The same on each further dataset, if there is any: the gain over a random set, paired
# by seed, with half of its 95% interval; colours are each panel's own.

# %%
panels = list(gains[~is_first].groupby(["dataset", "metric"], sort=False))
if panels:
    figure, axes = plotting.panels(len(panels))
    for ax, ((dataset, metric), of_panel) in zip(axes, panels, strict=True):
        models = list(dict.fromkeys(of_panel.model))
        title = f"{study.title(dataset)}, {of_panel.n_seeds.max()} seeds:\n{plotting.name(metric)}"
        plotting.gain_matrix(ax, of_panel, models, title=title, xlabel="learns", ylabel="chose")
    study.save(figure, "other_datasets")

# %% [markdown]
# ## The paper's claims beside ours

# %%
checked = claims.check_claims("13_choosing_or_learning", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, checked)

# %% [markdown]
# Read down a column for *learning*: a column that stays at or below 0, whoever chose, belongs to a
# network that cannot use what it is given. Read along a row for *choosing*: a row that stays above
# 0 for every learner that can use it belongs to a network that finds what settles the task, for
# others as well. The first table says how often each found disambiguating examples; where a
# network finds many and yet gains nothing on the diagonal, while others gain from its set, it lacks
# the features to learn from them, not the questions.
#
# <details><summary>What would have counted against it</summary>
#
# A row of a network without pretraining that is as good as the pretrained ones for the same
# learner, or a column of one with gains above 0: the claims table judges both for one pair of
# networks, and the figure shows whether other pairs agree.
#
# </details>
