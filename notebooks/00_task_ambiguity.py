# %% [markdown]
# # Task ambiguity: red squares, blue circles, and what a model asks
#
# **The claim.** A model that has only seen red squares and blue circles cannot know whether the
# task is shape or colour. Asked what it is least sure of, a pretrained model points at the blue
# squares and red circles, whose labels settle the question (paper, section 1, Fig. 1).
#
# Here the task is shape. Nearly all of the pool is red squares and blue circles, in which colour
# and shape say the same; the few blue squares and red circles are the *disambiguating* examples. In
# the validation set all four kinds are equally common.
#
# **What would count against it.** Least confidence asks for disambiguating examples no more often
# than random sampling meets them, or asks for them and is no more accurate afterwards.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["squares_circles"]  # names, or folders that hold a manifest
models = []  # names or timm:NAME, hf:NAME; "-np" is not pretrained; [] takes each dataset's own
acquisitions = ["random", "least_confidence"]  # random | least_confidence | entropy | margin
seeds = [1, 11, 21, 31, 41, 51, 61, 71]  # one run per seed and arm
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {}  # labels: seed_set_size, budget, query_batch_size, ...; {} takes each dataset's own
recipe = {}  # fine-tuning: lr, max_steps, optimizer, ...; {} takes each dataset's own
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
import matplotlib.pyplot as plt

from companion.report import claims, contact_sheets, diagram, estimates, plotting, readings
from companion.report.study import run_study

plotting.house_style()

# %%
study = run_study("00_task_ambiguity", globals())
name, data = next(iter(study.datasets.items()))

# %% [markdown]
# ## The loop, and equation 1
# Section 2 of the paper, with the numbers of the drawing:
#
# 1. A small *seed set* is labelled: as many examples of each class, drawn at random.
# 2. Train: fine-tune the model M on all labels so far, each time from its initial weights.
# 3. Score every example x of the unlabelled pool. *Least confidence* (equation 1):
#    a(x; M) = −max<sub>y</sub> p(y | x; M), minus the probability of the most likely class.
#    *Margin*: minus the lead of the most likely class over the second. *Entropy*:
#    −Σ<sub>y</sub> p(y | x; M) log p(y | x; M). *Random*: a number drawn at random.
# 4. Ask for the labels of the examples with the highest scores, the *query batch*.
# 5. The answers join the labels; again from 2, until the *budget* is spent.
#
# **Figure.** The loop of section 2. Numbers are those of the steps; blue arrows lead from one to
# the next, from the seed set until the budget is spent.

# %%
figure = diagram.loop_diagram()
study.save(figure, "loop")

# %% [markdown]
# The same steps are these lines of `alpt_lib/loop.py`, shown from the file itself: `learner.fit` is
# step 2, `choose` steps 3 and 4, `pool.acquire` step 5; round -1 asks for the seed set.

# %%
diagram.loop_lines()

# %% [markdown]
# ## What the pool holds, and what was asked for
# `share acquired` is the share of a subgroup among all queried examples (the seed set left out),
# `ratio` how many times that is its share of the pool.

# %%
pool = estimates.pool_values(data, "subgroup")
asked = estimates.upsampling_by_run(study.acquisitions, "subgroup", pool)
by = ["acquisition", "subgroup"]
columns = ["share_pool", "share_acquired", "ratio"]
table = asked.groupby(by, sort=False)[columns].mean().reset_index()
study.save_table(table, "acquired")
plotting.show_table(table)

# %% [markdown]
# ## The first questions of one seed
# What does the model point at, before anybody has told it that shape is meant?
#
# **Figure.** What random sampling and least confidence asked for in the first rounds of one seed, a
# row a round, most wanted first. Pictures are shown as the model gets them, resized to a square.
# Blue squares and red circles, the disambiguating examples, have an orange frame, the others a grey
# one; above, their share of all that was asked for in these rounds.

# %%
arms = study.parameters["acquisitions"]
seed = study.parameters["seeds"][0]
first = study.acquisitions.query("seed == @seed and 0 < round <= 4")
first = first[first.run_id.isin(first.groupby("acquisition").run_id.first())]
figure = plt.figure(figsize=(plotting.WIDTH, 2.9))
contact_sheets.sheets(figure, data, first, arms, f"Seed {seed}, ")
study.save(figure, "first_questions")

# %% [markdown]
# ## Every seed: how many questions disambiguate, and what the answers are worth
#
# **Figure.** Left: share of disambiguating examples in each query batch; dashed, their share of the
# pool. Right: accuracy after the last round on each kind of picture, all four equally common in
# validation. Lines and bars are means over seeds, bands and whiskers their 95% intervals.

# %%
shares = estimates.share_by_round(study.acquisitions, "subgroup", data.minority)
groups = study.main.query("metric == 'accuracy' and subgroup != 'all'")
groups = estimates.last_rounds(groups)
figure, ((left, right),) = plotting.grid(1, 2.4)
labels = {"title": "Disambiguating examples", "xlabel": "round", "ylabel": "share of the batch"}
plotting.curve(left, shares, x="round", ylim=(0, 1), **labels)
plotting.pool_line(left, estimates.minority_share(data))
labels = {"title": "Final accuracy", "ylabel": "validation accuracy", "ylim": (0, 1)}
plotting.bars(right, groups, "subgroup", **labels)
plotting.legend(figure, right)
plotting.note_seeds(figure, study.runs)
study.save(figure, "shares_and_accuracy")
study.save_table(estimates.seed_means(groups, ["acquisition", "subgroup"]), "final_accuracy")

# %% [markdown]
# ## The paper's claims beside ours

# %%
checked = claims.check_claims("00_task_ambiguity", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, checked)

# %% [markdown]
# Nobody told the model that colour might mislead: it recognises by itself which examples its labels
# say nothing about. Their share of a batch can fall again for either of two reasons: the pool has
# few left, or enough of them have been answered. Notebook 03 repeats the count on the paper's
# datasets.
#
# <details><summary>What would have counted against it</summary>
#
# An orange frame no commoner on the sheet of least confidence than on that of random sampling, or
# as common as claimed with no gain in accuracy: the two lines of the claims table would then read
# *contradicted*, or stay *undecided*.
#
# </details>
