# %% [markdown]
# # When to stop fine-tuning without a validation set
#
# **The claim.** Stopping when the training loss has fallen to a thousandth of its first value does
# as well as early stopping on labelled validation data, which a person with few labels does not
# have (paper, section 2 and Appendix D).
#
# `loss_ratio` is the paper's rule. `early_stopping` checks the accuracy on the validation split
# every few steps, stops when it no longer rises and goes back to the best weights. It sees many
# labels that the other rule does without, and its validation split is also the one that we report
# here, so it has every advantage.
#
# **What would count against it.** Early stopping ends more accurate: the interval of the paired
# difference excludes 0.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["waterbirds"]  # names, or folders that hold a manifest
models = []  # names or timm:NAME, hf:NAME; "-np" is not pretrained; [] takes each dataset's own
acquisitions = ["random", "least_confidence"]  # random | least_confidence | entropy | margin
stopping = ["loss_ratio", "early_stopping"]  # loss_ratio | early_stopping | fixed_steps
seeds = [1, 11, 21, 31, 41, 51, 61, 71]  # one run per seed and arm
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {}  # labels: seed_set_size, budget, query_batch_size, ...; {} takes each dataset's own
recipe = {}  # fine-tuning: lr, max_steps, check_every (steps), patience (checks), ...
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
import pandas as pd

from companion.report import claims, estimates, plotting, readings
from companion.report.study import run_study

plotting.house_style()

# %%
study = run_study("09_stopping_rule", globals())

# %% [markdown]
# ## Accuracy and steps under each rule
# `gain` is least confidence's final difference to random sampling under the same rule. `mean steps`
# are gradient steps per fine-tuning; `share stopped by rule` is the share of fine-tunings that the
# rule ended, the others ran into the step limit. Early stopping goes by accuracy, which counts the
# larger class more: what it costs the smaller one shows in the worst group.

# %%
by = ["dataset", "model", "stopping", "metric"]
worst_group = study.main[study.main["metric"] == "accuracy_worst_group"]
shown = pd.concat([study.headline, worst_group]).drop_duplicates()
final = estimates.last_rounds(shown)
table = estimates.paired_gains(final, by)
study.save_table(table, "gains_by_rule")
plotting.show_table(table)

# %%
arms = ["dataset", "model", "stopping", "acquisition"]
columns = ["mean_steps", "share_stopped_by_rule"]
steps = study.runs.groupby(arms, sort=False)[columns].mean().reset_index()
study.save_table(steps, "steps_by_rule")
plotting.show_table(steps)

# %% [markdown]
# ## The same as a figure
#
# **Figure.** Validation accuracy after the last round under each stopping rule, on the average, on
# disambiguating examples and in the worst group, and the mean number of gradient steps of a
# fine-tuning. Grey: random sampling, blue: least confidence. Bars are means over seeds, whiskers
# their 95% intervals.

# %%
panels = list(final.groupby(["dataset", "model", "metric"], sort=False))
figure, (*axes, last) = plotting.panels(len(panels) + 1)
labels = {"ylabel": "validation accuracy", "ylim": (0, 1)}
for ax, ((dataset, model, metric), rows) in zip(axes, panels, strict=True):
    title = f"{study.title(dataset, model)}\n{plotting.name(metric)}"
    plotting.bars(ax, rows, "stopping", title=title, **labels)
labels = {"title": "Length of a fine-tuning", "ylabel": "mean gradient steps"}
plotting.bars(last, study.runs.assign(value=study.runs.mean_steps), "stopping", **labels)
plotting.legend(figure, last)
plotting.note_seeds(figure, study.runs)
study.save(figure, "stopping_rule")

# %% [markdown]
# ## The paper's claims beside ours

# %%
checked = claims.check_claims("09_stopping_rule", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
lines = []
for row in steps.itertuples():
    rule = f"{plotting.name(row.acquisition)}, {plotting.name(row.stopping)}"
    ended = f"the rule ended {row.share_stopped_by_rule:.0%} of the fits"
    lines.append(f"{rule}: {row.mean_steps:.0f} steps a fit on average; {ended}")
readings.reading(study, checked, table, lines)

# %% [markdown]
# That two rules do equally well is supported only where the whole interval lies within the stated
# margin; a wide one shows how large a difference would have gone unseen. Where the step limit ends
# most fits, the comparison is between early stopping and that limit.
#
# <details><summary>What would have counted against it</summary>
#
# Early stopping ahead by more than the margin: a line *contradicted* in the claims table.
#
# </details>
