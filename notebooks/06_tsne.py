# %% [markdown]
# # The feature space on a page: t-SNE
#
# **The claim.** In the features of a pretrained network the latent subgroups form regions of their
# own; without pretraining they are mixed. The examples that uncertainty sampling acquires lie near
# the borders between classes (paper, section 6.3 and Appendix H).
#
# t-SNE places pool examples with similar features close together; distances between regions mean
# little. The features are those of the initial network, before any fine-tuning. Because a map can
# please the eye, we also count in feature space itself: of the nearest neighbours of an example,
# how many share its subgroup, and how many its class?
#
# **What would count against it.** Neighbours agree no more often with pretraining than without, or
# the neighbours of acquired examples agree on the class as often as those of any other example.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["real_waterbirds"]  # one name, or a folder that holds a manifest
models = ["lite0", "lite0-1-np"]  # names or timm:NAME, hf:NAME; "-np" is not pretrained
acquisitions = ["random", "least_confidence"]  # or entropy, margin; the last one is marked
seeds = [1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 101, 111, 121, 131, 141, 151]  # the map: the first
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {}  # labels: seed_set_size, budget, query_batch_size, ...; {} takes each dataset's own
recipe = {}  # fine-tuning: lr, max_steps, optimizer, ...; {} takes each dataset's own
n_points = 600  # pool examples on the map, all acquired ones among them
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
from itertools import product

import numpy as np
import pandas as pd

from companion.report import plotting, readings
from companion.report.study import run_study
from companion.runs import probes
from companion.runs.plan import plan_runs

plotting.house_style()

# %%
study = run_study("06_tsne", globals())
name, data = next(iter(study.datasets.items()))
arm, seed = study.parameters["acquisitions"][-1], study.parameters["seeds"][0]

# %% [markdown]
# ## Which examples are drawn
# All that any run of this seed acquired, and as many others of the pool, drawn at random, as fit on
# the map.

# %%
asked = study.acquisitions.query("dataset == @name and seed == @seed and round > 0")
acquired = asked[asked.acquisition == arm]
of_model = {model: set(rows["index"]) for model, rows in acquired.groupby("model", sort=False)}
n_pool = len(data.rows("pool"))
always = np.array(sorted(set(asked["index"])))
shuffled = np.random.default_rng(seed).permutation(n_pool)
others = np.setdiff1d(shuffled, always, assume_unique=True)
points = np.concatenate([always, others[: max(0, study.parameters["n_points"] - len(always))]])
print(
    f"{len(points)} of {n_pool} pool examples, {len(always)} of them acquired in at least one run"
)

# %%
shown = {"index": points, "subgroup": data.subgroup("pool")[points]}
shown["label"] = data.rows("pool").label.to_numpy()[points]
maps = []
for planned in plan_runs({**study.parameters, "seeds": [seed], "acquisitions": [arm]}):
    if planned.dataset == name:
        features = probes.initial_features(data, planned.config, points)
        one = probes.tsne(features, seed=seed).assign(model=planned.model, **shown)
        one["acquired"] = one["index"].isin(of_model[planned.model])
        for group in ("subgroup", "label"):
            one[f"same_{group}"] = probes.neighbour_agreement(features, one[group].to_numpy())
        maps.append(one)
maps = pd.concat(maps, ignore_index=True)
study.save_table(maps, "tsne")

# %% [markdown]
# ## How alike neighbours are
# Share of the ten nearest neighbours in feature space with the same subgroup, averaged over
# subgroups so that the rare ones count as much as the common ones; and with the same class, for
# acquired and for other examples.

# %%
by_subgroup = maps.groupby(["model", "subgroup"], sort=False).same_subgroup.mean()
by_acquired = maps.groupby(["model", "acquired"], sort=False).same_label.mean().unstack()
table = pd.DataFrame({"same_subgroup": by_subgroup.groupby("model", sort=False).mean()})
table["same_class_around_acquired"] = by_acquired.get(True)
table["same_class_around_others"] = by_acquired.get(False)
table = table.reset_index()
study.save_table(table, "neighbours")
plotting.show_table(table)

# %% [markdown]
# ## The map
#
# **Figure.** t-SNE of the initial features of pool examples, coloured by subgroup: pretrained, and
# the same network not pretrained. Black rings mark the examples that least confidence acquired in
# any round. One seed.

# %%
colours = plotting.subgroup_colours(sorted(maps.subgroup.unique()))
figure, axes = plotting.grid(1, 3.6, columns=maps.model.nunique())
dot = {"s": 7, "linewidth": 0, "alpha": 0.75}
ring = {"s": 18, "facecolor": "none", "edgecolor": "black", "linewidth": 0.7}
labels = {"xticks": [], "yticks": [], "xlabel": "t-SNE 1", "ylabel": "t-SNE 2"}
for ax, (model, rows) in zip(axes[0], maps.groupby("model", sort=False), strict=True):
    for subgroup, points in rows.groupby("subgroup"):
        ax.scatter(points.x, points.y, color=colours[subgroup], label=subgroup, **dot)
    ringed = rows[rows.acquired]
    ax.scatter(ringed.x, ringed.y, label="acquired", **ring)
    ax.set(title=study.title(name, model), **labels)
columns = min(5, 1 + maps.subgroup.nunique())
legend = {"loc": "outside lower center", "ncols": columns, "markerscale": 2}
handles = axes[0, 0].get_legend_handles_labels()
figure.legend(*handles, **legend)
study.save(figure, "tsne")

# %% [markdown]
# ## The map, round by round
# Random sampling sows evenly over the regions. Asking should return to where colours meet, or to
# regions that the labels so far have left out.
#
# **Figure.** The map of the first model, pool in grey, with the examples acquired up to each round
# in the colour of their subgroup; ringed, those of that round. Random sampling above, least
# confidence below. One seed.

# %%
first = maps[maps.model == maps.model.iloc[0]]
of_first = asked[asked.model == maps.model.iloc[0]][["acquisition", "index", "round"]]
of_first = of_first.merge(first, on="index")
n_rounds = int(of_first["round"].max())
rounds = sorted({max(1, round(n_rounds * step / 4)) for step in (1, 2, 3, 4)})
arms = study.parameters["acquisitions"]
figure, axes = plotting.grid(len(arms), 1.9 + 0.3 / len(arms), columns=len(rounds))
for ax, (this, upto) in zip(axes.flat, product(arms, rounds), strict=True):
    so_far = of_first.query("acquisition == @this and round <= @upto")
    ax.scatter(first.x, first.y, s=2, color="#c8c8c8", linewidth=0)
    ax.scatter(so_far.x, so_far.y, s=8, c=so_far.subgroup.map(colours), linewidth=0)
    newest = so_far[so_far["round"] == upto]
    ax.scatter(newest.x, newest.y, **{**ring, "s": 16, "linewidth": 0.6})
    ax.set(title=f"{plotting.name(this)}\nup to round {upto}", xticks=[], yticks=[])
figure.legend(*handles, **legend)
study.save(figure, "tsne_by_round")

# %% [markdown]
# ## What we read from it
# The appendix shows maps and states no number; the table above is our count. It rests on one seed
# and carries no interval, so there is no claim to check here.

# %%
lines = []
for row in table.itertuples():
    title = plotting.name(row.model)
    lines.append(f"{title}: {row.same_subgroup:.0%} of an example's neighbours share its subgroup")
    near = f"{row.same_class_around_acquired:.0%} of the neighbours share the class"
    elsewhere = f"around the others {row.same_class_around_others:.0%}"
    lines.append(f"{title}: around acquired examples {near}, {elsewhere}")
readings.reading(study, lines=lines)

# %% [markdown]
# The map is of the *initial* features. Fine-tuned networks see the pool differently by the time
# they choose, so some rings of theirs lie deep inside a region.
#
# <details><summary>What would have counted against it</summary>
#
# Maps that are stirred alike, with equal numbers in the table, or rings, round by round, that fall
# on least confidence's map as evenly as on that of random sampling.
#
# </details>
