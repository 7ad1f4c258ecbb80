# %% [markdown]
# # What gets asked: disambiguating examples, seen and unseen
#
# **The claim.** Uncertainty sampling asks for disambiguating examples far more often than they
# occur: birds on the wrong background, persons beside trees, reviews with few stars, and even rare
# product categories, though backgrounds and categories are never shown to the model as labels
# (paper, section 6.1, Figs. 4 and 5).
#
# A subgroup is a combination of label and spurious attribute (Waterbirds, Treeperson) or a
# label alone (Amazon's stars); the product category is a further, latent attribute. We count
# *queried* examples only: the seed set is the same in both arms and is left out. The real
# Waterbirds come first: a linear head on a frozen, ImageNet-pretrained network asks.
#
# **What would count against it.** A ratio of the share among queried examples to the share of the
# pool that is not above 1 for the disambiguating examples, or that is no higher than under random
# sampling.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["real_waterbirds", "waterbirds", "treeperson", "amazon"]  # or folders
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
import pandas as pd

from alpt_lib.metrics import rare
from companion.report import claims, contact_sheets, estimates, plotting, readings
from companion.report.query_browser import browse
from companion.report.round_slider import round_slider
from companion.report.study import run_study

plotting.house_style()

# %%
study = run_study("03_subgroup_upsampling", globals())

# %% [markdown]
# ## Shares among queried examples
# One line per subgroup of disambiguating examples, or rare value of a latent attribute: its share
# of the pool, its share among what each arm asked for, and the ratio of the two with a 95% interval
# over seeds (Student's t). Random sampling should stay near 1. All subgroups are in
# `upsampling.csv`.

# %%
counts = []
for dataset, data in study.datasets.items():
    asked = study.acquisitions[study.acquisitions.dataset == dataset]
    first = "subgroup" if data.description.subgroups else "label"
    for attribute in [first, *data.description.latent]:
        pool = estimates.pool_values(data, attribute)
        shares = estimates.upsampling_by_run(asked, attribute, pool)
        shares = shares.rename(columns={attribute: "value_of"}).assign(attribute=attribute)
        few = data.minority if attribute == first else rare(pool.value_counts(normalize=True))
        shares["is_rare"] = shares.value_of.isin(few)
        counts.append(shares.sort_values("share_pool", ascending=False, kind="stable"))
counts = pd.concat(counts, ignore_index=True)

# %%
by = ["dataset", "model", "attribute", "value_of", "share_pool", "acquisition"]
table = estimates.seed_means(counts.assign(value=counts.ratio), by)
table = table.rename(columns={"mean": "ratio"})
of_group = counts.groupby(by, sort=False)
table.insert(6, "share_acquired", of_group.share_acquired.mean().to_numpy())
study.save_table(table, "upsampling")
plotting.show_table(table[of_group.is_rare.first().to_numpy()])

# %% [markdown]
# ## Shares and ratios
# Most bars stand where the pool puts them. The question is which do not.
#
# **Figure.** What each arm asked for, by subgroup or latent attribute. Left: share of all queried
# examples; the orange lines are the shares of the pool, which random sampling should meet. Right:
# the same as a multiple of the pool's share, so that rare values show; the orange line at 1 is what
# chance gives. Bars are means over seeds, whiskers their 95% intervals.

# %%
figure = plotting.upsampling_grid(study, counts)
plotting.note_seeds(figure, study.runs)
study.save(figure, "subgroup_upsampling")

# %% [markdown]
# ## Round by round
# Totals hide when the asking happens. If it is the open task that makes examples interesting, their
# share should be high while the task is open and fall back once they have been answered, or once
# the pool runs out of them.
#
# **Figure.** The acquisition timeline: share of each subgroup in every query batch (of more than
# 16, neighbours together), random sampling on the left, least confidence on the right, on the same
# axes. Dashed in the same colour: the subgroup's share of the pool. Lines are means over seeds,
# bands their 95% intervals.

# %%
shares = []
for dataset, data in study.datasets.items():
    asked = study.acquisitions[study.acquisitions.dataset == dataset]
    for subgroup in data.pool_shares.sort_index().index:
        by_round = estimates.share_by_round(asked, "subgroup", [subgroup])
        shares.append(by_round.assign(subgroup=subgroup))
shares = pd.concat(shares, ignore_index=True)
by = ["dataset", "model", "acquisition", "subgroup", "round"]
study.save_table(estimates.seed_means(shares, by), "acquisition_timeline")

# %%
arms = study.parameters["acquisitions"]
timelines = list(shares.groupby(["dataset", "model"], sort=False))
figure, axes = plotting.grid(len(timelines), 2.1, len(arms), sharey="row")
labels = {"xlabel": "round", "ylabel": "share of the query batch", "ylim": (0, 1)}
for row, ((dataset, model), rows) in zip(axes, timelines, strict=True):
    pool = study.datasets[dataset].pool_shares.sort_index()
    colours = plotting.subgroup_colours(list(pool.index))
    options = {"by": "subgroup", "x": "round", "colours": colours, **labels}
    for ax, arm in zip(row, arms, strict=True):
        title = f"{study.title(dataset, model)}, {plotting.name(arm)}"
        plotting.curve(ax, rows[rows.acquisition == arm], title=title, **options)
        for subgroup, share in pool.items():
            ax.axhline(share, color=colours[subgroup], linestyle="--", linewidth=1)
plotting.note_seeds(figure, study.runs)
study.save(figure, "acquisition_timeline")

# %% [markdown]
# ## The first questions of one seed
# Numbers say how often; the examples themselves say what. Look for what the right side has in
# common.
#
# **Figure.** Contact sheets of the pictures asked for in the first rounds of one seed, most wanted
# first, as the model gets them, resized to a square. Disambiguating examples have an orange
# frame, the others a grey one. Each title says which share of all that was asked for in these
# rounds, shown or not, they are.

# %%
seed = study.runs.seed.min()
first = study.acquisitions.query("seed == @seed and 0 < round <= 3")
is_text = first.dataset.map({name: not data.is_image for name, data in study.datasets.items()})
if not is_text.all():
    figure = contact_sheets.sheet_grid(study, first[~is_text])
    study.save(figure, "first_questions")

# %% [markdown]
# **Figure.** The same in words, for the first rounds of one seed: the three most wanted reviews, or
# what the three most wanted photographs show (the pictures are not part of this repository).
# Disambiguating examples have an orange bar, the others a grey one.

# %%
if is_text.any():
    figure = contact_sheets.sheet_grid(study, first[is_text])
    study.save(figure, "first_questions_texts")

# %% [markdown]
# ## Round by round, one run
# Drag, or use the arrow keys: what each arm asked for, and how the accuracy moved once the answers
# had been trained on.

# %%
round_slider(study)

# %% [markdown]
# ## Every question of every run
# With a running kernel, choose a dataset, model, seed and round; without one, a picture of one
# batch stands here.

# %%
browse(study)

# %% [markdown]
# ## The paper's claims beside ours

# %%
checked = claims.check_claims("03_subgroup_upsampling", study)
claims.show_claims(checked)

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, checked)

# %% [markdown]
# Compare disambiguating examples with the rarer *class*: if only the class were sought, both of its
# subgroups would rise alike. A latent attribute is the harder test, because no label speaks of it;
# where its rare values are asked for more often, the representation knows them. Whether the extra
# labels pay off is the business of notebook 01.
#
# <details><summary>What would have counted against it</summary>
#
# Blue bars of disambiguating examples at the orange line of 1, a timeline of least confidence that
# keeps to the dashed lines as random sampling does, or contact sheets whose sides could be
# exchanged.
#
# </details>
