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
preset = "mini"  # smoke | mini | paper: which data and models the names below stand for
datasets = ["squares_circles"]  # names, or folders that hold a manifest
models = []  # names or timm:NAME, hf:NAME; "-np" is not pretrained; [] takes each dataset's own
acquisitions = ["random", "least_confidence"]  # random | least_confidence | entropy | margin
seeds = [1, 11, 21, 31, 41]  # one run per seed and arm
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {}  # labels: seed_set_size, budget, query_batch_size, ...; {} takes each dataset's own
recipe = {}  # fine-tuning: lr, max_steps, optimizer, ...; {} takes each dataset's own
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
import matplotlib.pyplot as plt

from companion.report import claims, contact_sheets, estimates, plotting
from companion.report.study import run_study

plotting.house_style()

# %%
study = run_study("00_task_ambiguity", globals())
name, data = next(iter(study.datasets.items()))

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
# Blue squares and red circles, the minority that settles the task, have an orange frame, the others
# a grey one; above, their share of all that was asked for in these rounds.

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
claims.show_claims(claims.check_claims("00_task_ambiguity", study))

# %% [markdown]
# ## What we read from it
# If the framed examples crowd the sheet of least confidence and are scattered through the sheet of
# random sampling, the model has recognised by itself which examples its labels say nothing about:
# nobody told it that colour might mislead. The share falls again in later rounds for either of two
# reasons: the pool has few such examples left, or enough of them have been answered and the model
# is no longer unsure. Where the accuracy on the disambiguating kinds rises with least confidence,
# the answers were used: the network reads shape. Notebook 03 repeats the count on the paper's
# datasets.
#
# **What would have counted against it.** An orange frame no commoner on the sheet of least
# confidence than on that of random sampling, or as common as claimed with no gain on blue squares
# and red circles: the first two lines of the claims table would then read *not reproduced*.
