# %% [markdown]
# # Accuracy for every label: asking against drawing at random
#
# **The claim.** With the same number of labels, a pretrained model that asks for the examples it is
# least confident about ends more accurate than one whose examples are drawn at random, above all on
# the *disambiguating examples*, which training data shows rarely (paper, section 5.1, Fig. 2).
#
# Each run starts from a small *seed set*. Every round fine-tunes the pretrained model anew on all
# labels so far, scores the unlabelled pool and buys the labels of the examples with the highest
# scores. *Least confidence* scores an example by minus the probability of its most likely class;
# *random* ignores the model. For each random seed both start from the same seed set, and we compare
# them pair by pair. The left panel of a dataset shows what the paper averages over, the right one
# the disambiguating examples, such as birds whose background disagrees (Waterbirds); all species
# counted alike (iWildCam); or the reviewers served worst (Amazon).
#
# The first figure is **real photographs**: all 11,788 of Waterbirds, at the paper's own protocol
# (40 labels, then 320 by 5) and its 16 seeds, seen by a real EfficientNet-Lite0 pretrained on
# ImageNet. It is kept *frozen*: each round trains a linear head on its features, where the paper
# fine-tunes the whole network. The others are miniatures of our own, fully fine-tuned.
#
# **What would count against it.** A final gain whose interval includes 0 or lies below it, or a
# gain on the average that the disambiguating examples do not share.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["real_waterbirds", "waterbirds", "treeperson", "iwildcam", "amazon"]  # or folders
models = []  # names or timm:NAME, hf:NAME; "-np" is not pretrained; [] takes each dataset's own
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
from companion.report import claims, estimates, heads_after, plotting, readings
from companion.report.study import run_study

plotting.house_style()

# %% [markdown]
# ## The runs
# What is stored already is reused; what is missing is trained now.

# %%
study = run_study("01_accuracy_curves", globals())

# %% [markdown]
# ## What asking gains once the budget is spent
# `gain` is the final difference to random sampling, paired by seed, with a 95% interval (Student's
# t). `times fewer labels` is how much sooner the mean curve reaches random sampling's final value;
# a dash means that it never does.

# %%
by = ["dataset", "model", "metric"]
curves = study.headline
table = estimates.paired_gains(curves, by)
table = table.join(estimates.savings(curves, by), on=[*by, "acquisition"])
study.save_table(table, "final_gains")
plotting.show_table(table)

# %% [markdown]
# ## The curves
# Two lines that part early and stay apart are the paper's finding; the level at which they end
# depends on the data.
#
# **Figure.** Accuracy on validation data against the number of labels, seed set included: least
# confidence in blue, random sampling in grey. Left what the paper averages over, right the
# disambiguating examples. By default all photographs of Waterbirds, a linear head on a frozen
# EfficientNet-Lite0, where the paper fine-tunes the whole network. Lines are means over seeds,
# bands their 95% intervals (Student's t). Triangles: where a rule that needs no labels would have
# ended each run (below).

# %%
stops = heads_after.stopping_points(study)
is_first = curves.dataset == curves.dataset.iloc[0]
figure = plotting.curve_grid(study, curves[is_first], stops)
plotting.note_seeds(figure, study.runs[study.runs.dataset == curves.dataset.iloc[0]])
study.save(figure, "first_curves")
study.save_table(estimates.seed_means(curves, [*by, "acquisition", "n_labels"]), "accuracy_curves")

# %% [markdown]
# **Figure.** The same for every other dataset, by default miniatures whose networks are fine-tuned
# as a whole: a row a dataset; left what the paper averages over, right the disambiguating examples,
# all species counted alike, or the reviewers served worst. Lines are means over seeds, bands their
# 95% intervals (Student's t).

# %%
if not is_first.all():
    figure = plotting.curve_grid(study, curves[~is_first])
    plotting.note_seeds(figure, study.runs[study.runs.dataset != curves.dataset.iloc[0]])
    study.save(figure, "accuracy_curves")

# %% [markdown]
# ## When could one have stopped asking?
# Predictions that no longer move (Bloodgood and Vijay-Shanker 2009) say so without a label: the
# rule ends a run once the models of successive rounds agree on 2,000 pool examples, with a mean
# kappa of at least 0.99 over three rounds. It is applied to heads on frozen networks, whose rounds
# can be fitted again. `labels paid` is the median over the runs that it ends; `still gained`, what
# the rest of the budget would have added.

# %%
table_of_stops = heads_after.stopping_table(curves, stops)
study.save_table(table_of_stops, "stopping")
plotting.show_table(table_of_stops)

# %% [markdown]
# ## The paper's claims beside ours

# %%
checked = claims.check_claims("01_accuracy_curves", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, checked, readings.unclaimed(study, table))

# %% [markdown]
# The paper's explanation, that questions go to examples which settle what the task is, predicts a
# larger gain on the disambiguating examples than on the average. Notebook 03 looks at the questions
# themselves, notebook 04 asks whether pretraining is what makes them good; it repeats some of these
# comparisons on other seeds. Sizes are shown beside the paper's and not judged: a linear head on a
# small frozen network is not the paper's BiT, fine-tuned as a whole, and miniatures are miniatures.
#
# <details><summary>What would have counted against it</summary>
#
# A line that is *contradicted*; or a gain on the average beside none on the disambiguating
# examples: then the answers helped, but not for the reason that the paper gives.
#
# </details>
