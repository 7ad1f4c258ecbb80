# %% [markdown]
# # After the labels: balanced groups, and whether asking makes a model over-confident
#
# **The claim.** That asking finds rare groups which then count more is akin to weighting groups up,
# but needs no knowledge of the groups (paper, section 7). And asking trusts the model's
# probabilities though nothing guarantees that they are calibrated; pretraining is said to help
# (paper, footnote 1).
#
# Both are looked at on the labels that stored runs acquired; only the head is fitted again, with
# the same L2, after every 40 labels:
#
# - *plain*, as in the run; *class-balanced* and *group-balanced*: every class, or every subgroup,
#   among the acquired labels counts the same. The last is the idea of deep feature reweighting
#   (Kirichenko, Izmailov and Wilson 2023), who draw equally many examples of each group from
#   held-out data; we weigh, and use the groups of the acquired labels alone.
# - *temperature*: the plain head's logits divided by one number (Guo et al. 2017), fitted by 5-fold
#   cross-validation on the acquired labels alone.
#
# *Calibration error* is the gap between confidence (the probability of the predicted class) and
# accuracy, averaged over 15 bins of equal width (Guo et al. 2017); *confidence minus accuracy* is
# the gap with its sign, above 0 a model believes itself too much; the *Brier score* (Brier 1950)
# is the squared distance from the truth. All are of the validation data, where the groups of a
# class are as frequent as each other, as they are not in the pool. These results are **ours**: one
# dataset, small frozen networks, a head whose L2 keeps its confidence down.
#
# **What would count against it.** A group-balanced head that does as well with random labels as
# with asked ones: then asking would add nothing to balancing. For calibration there is no claim to
# fail, but a question: the interval of the difference says which way asking moves it.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["real_waterbirds"]  # names, or folders that hold a manifest
models = []  # names; [] takes each dataset's own
acquisitions = ["random", "least_confidence"]  # random | least_confidence | entropy | margin
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
study = run_study("14_after_the_labels", globals())
heads = heads_after.treated(study, every=40)
others = heads_after.under_other_l2(study, strengths=[0.1, 0.001, 0.0001])
study.metrics = pd.concat([heads, others], ignore_index=True)

# %% [markdown]
# ## What each treatment changes, on the same labels
# The last round: difference to the plain head on the labels of the same run, with a 95% interval
# (Student's t) over seeds.

# %%
by = ["dataset", "model", "asked_by", "metric"]
every_metric = study.main[study.main.subgroup == "all"]
shown = ["accuracy", "accuracy_worst_group", "calibration_error", "overconfidence", "brier_score"]
overall = every_metric[every_metric.metric.isin(shown)]
others = overall[overall["head"].isin(["plain", "another L2"])]
overall = overall[overall["head"] != "another L2"]
treatments = overall.rename(columns={"acquisition": "asked_by", "head": "acquisition"})
table = estimates.paired_gains(treatments, by, baseline="plain")
table = table.rename(columns={"acquisition": "head", "gain": "change"})
study.save_table(table, "change_by_head")
plotting.show_table(table)

# %% [markdown]
# ## What asking is worth under each treatment
# The last round: least confidence minus random sampling under the same treatment, paired by seed.
# A gain in calibration error or Brier score is a loss.

# %%
table = estimates.paired_gains(overall, ["dataset", "model", "head", "metric"])
study.save_table(table, "gains_by_head")
by = ["dataset", "model", "acquisition", "head", "metric", "n_labels"]
study.save_table(estimates.seed_means(overall, by), "heads_by_round")
plotting.show_table(table)

# %% [markdown]
# ## Round by round
# Left the labels are random, right they were asked for; the treatments are the same.
#
# **Figure.** Against the number of labels, on the first dataset's validation data: worst-group
# accuracy, calibration error, confidence minus accuracy (above 0: over-confident), and Brier score,
# of heads treated in four ways. Left: random labels, right: asked by least confidence. Lines are
# means over seeds, bands their 95% intervals. Temperature leaves accuracies as they are.

# %%
cases = list(overall.groupby(["dataset", "model"], sort=False))
(dataset, model), first = cases[0]
runs = study.runs[(study.runs.dataset == dataset) & (study.runs.model == model)]
arms = list(dict.fromkeys(first.acquisition))
rows = [metric for metric in shown[1:] if metric in set(first.metric)]

# %%
figure, axes = plotting.grid(len(rows), 2.0, columns=len(arms), sharey="row")
for pair, metric in zip(axes, rows, strict=True):
    for ax, arm in zip(pair, arms, strict=True):
        lines = first[(first.metric == metric) & (first.acquisition == arm)]
        if metric.startswith("accuracy"):
            lines = lines[lines["head"] != "temperature"]
        title = f"{plotting.name(arm)}: {plotting.name(metric)}"
        plotting.curve(ax, lines, by="head", colours=plotting.HEAD_COLOURS, title=title)
for ax in axes[-1]:
    ax.set_xlabel("labels")
plotting.note_seeds(figure, runs)
study.save(figure, "after_the_labels")

# %% [markdown]
# **Figure.** After the last round, on each further dataset or network, if there is any: accuracy on
# what the dataset's curves show last, and calibration error, of heads treated in four ways. Grey:
# random labels, blue: asked ones. Bars are means over seeds, whiskers their 95% intervals.

# %%
last = study.headline.drop_duplicates(["dataset", "metric"]).groupby("dataset").metric.last()
final = estimates.last_rounds(every_metric[every_metric["head"] != "another L2"])
if len(cases) > 1:
    figure, axes = plotting.grid(len(cases) - 1, 2.1)
    for pair, ((dataset, model), _) in zip(axes, cases[1:], strict=True):
        of_case = final[(final.dataset == dataset) & (final.model == model)]
        for ax, metric in zip(pair, (last[dataset], "calibration_error"), strict=True):
            title = f"{study.title(dataset, model)}\n{plotting.name(metric)}"
            plotting.bars(ax, of_case[of_case.metric == metric], "head", title=title)
    plotting.legend(figure, axes[0, 0])
    plotting.note_seeds(figure, study.runs)
    study.save(figure, "other_datasets")

# %% [markdown]
# ## Does the answer hang on L2?
# The same final sets, plain heads. The questions were asked by heads with the recipe's L2.
#
# **Figure.** On the first dataset after the last round, against the strength of L2: confidence
# minus accuracy (above 0: over-confident), calibration error, worst-group accuracy and Brier score
# of plain heads, on random labels (grey) and on asked ones (blue). Lines are means over seeds,
# bands their 95% intervals.

# %%
others = estimates.last_rounds(others).sort_values("l2")
by = ["dataset", "model", "acquisition", "metric", "l2"]
study.save_table(estimates.seed_means(others, by), "heads_by_l2")
figure, axes = plotting.panels(len(rows))
others = others[others.run_id.isin(runs.run_id)]
for ax, metric in zip(axes, rows, strict=True):
    plotting.curve(ax, others[others.metric == metric], x="l2", title=plotting.name(metric))
    ax.set(xscale="log", xlabel="L2")
    ax.set_xticks(others.l2.unique(), [f"{l2:g}" for l2 in others.l2.unique()])
    ax.minorticks_off()
plotting.note_seeds(figure, runs)
study.save(figure, "under_other_l2")

# %% [markdown]
# ## The paper's claims beside ours

# %%
checked = claims.check_claims("14_after_the_labels", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, checked)

# %% [markdown]
# The first table says what balancing does to labels that are there already. Weighting groups up
# cannot make up for groups that were hardly met: compare the group-balanced lines of the two
# columns. It needs to know the groups of the acquired labels, which asking did not.
#
# As for confidence: an uncertain model asks for what is close to its boundary, so it is trained on
# labels that are harder, and more mixed, than the data it is then used on. The third row shows on
# which side of 0 that leaves it. A temperature fitted on the asked labels sees them only, so it
# moves the head towards what is right for hard examples; the second row says how far that helps on
# others. Read the signs with the second figure: how confident a head is hangs on its L2 as much as
# on its labels, and a network that is fine-tuned may behave differently again.
#
# <details><summary>What would have counted against it</summary>
#
# Group-balanced lines that end at the same height left and right: then groups, not questions, would
# be what matters. Lines of calibration that run alike left and right would say that asking does
# nothing to confidence.
#
# </details>
