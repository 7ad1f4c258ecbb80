# %% [markdown]
# # What gets asked: rare subgroups, seen and unseen
#
# **The claim.** Uncertainty sampling asks for disambiguating examples far more often than they occur: birds on the wrong
# background, persons beside trees, reviews with few stars, and even rare product categories, though backgrounds and
# categories are never shown to the model as labels (paper, section 6.1, Figs. 4 and 5).
#
# A subgroup is a combination of label and spurious attribute (Waterbirds, Treeperson, digits on photographs) or a label alone
# (Amazon's stars); the product category is a further, latent attribute. We count *queried* examples only: the seed set is
# the same in both arms and is left out.
#
# **What would count against it.** A ratio of the share among queried examples to the share of the pool that is not above 1 for
# the minority subgroups, or that is no higher than under random sampling.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | paper: which data and models the names below stand for
datasets = ["waterbirds", "treeperson", "digits", "amazon"]  # names, or folders that hold a manifest
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
import pandas as pd
from IPython.display import display

from alpt_lib import claims, experiments, metrics, plotting

plotting.house_style()

# %%
study = experiments.run("03_subgroup_upsampling", globals())

# %% [markdown]
# ## Shares among queried examples
# One line per subgroup, or value of a latent attribute: its share of the pool, its share among what each arm asked for, and
# the ratio of the two with a 95% interval over seeds (Student's t). Random sampling should stay near 1.

# %%
counts = []
for dataset, data in study.datasets.items():
    asked, attributes = study.acquisitions[study.acquisitions.dataset == dataset], ["subgroup", *data.description.latent]
    for attribute in attributes if data.description.subgroups else ["label", *attributes[1:]]:
        pool = pd.Series(data.subgroup("pool")) if attribute == "subgroup" else data.rows("pool")[attribute]
        found = metrics.upsampling_by_run(asked, attribute, pool).rename(columns={attribute: "value_of"})
        counts.append(found.assign(attribute=attribute).sort_values("share_pool", ascending=False, kind="stable"))
counts = pd.concat(counts, ignore_index=True)
by = ["dataset", "model", "attribute", "value_of", "share_pool", "acquisition"]
table = metrics.interval(counts.rename(columns={"ratio": "value"}), by, student=True).rename(columns={"mean": "ratio"})
table.insert(6, "share_acquired", counts.groupby(by, sort=False).share_acquired.mean().to_numpy())
study.save_table(table, "upsampling")
plotting.show(table)

# %% [markdown]
# ## Shares and ratios
# Left: shares, against the share of the pool. Right: how many times that share; rare values show here.

# %%
panels = list(counts.groupby(["dataset", "model", "attribute"], sort=False))
figure, axes = plt.subplots(len(panels), 2, figsize=(11, 3 * len(panels)), squeeze=False)
for (left, right), ((dataset, model, attribute), rows) in zip(axes, panels, strict=True):
    shares = rows.assign(value=rows.share_acquired)
    plotting.bars_with_pool_share(left, shares, shares.groupby("value_of").share_pool.first(), "value_of")
    plotting.bars(right, rows.assign(value=rows.ratio), "value_of")
    right.axhline(1, color=plotting.HIGHLIGHT, linewidth=2)
    left.set(title=f"{study.title(dataset, model)}, by {attribute}", ylabel="share of queried examples", ylim=(0, None))
    right.set(title="relative to the pool", ylabel="ratio (1 = as in the pool)", ylim=(0, None))
axes[0, 0].legend(fontsize="small")
figure.suptitle(plotting.seed_note(study.runs), fontsize="small", x=0.01, ha="left")
study.save(figure, "subgroup_upsampling")

# %% [markdown]
# ## The first questions of one seed
# Pictures: each row is one round, most wanted first, minority subgroups framed. Texts: the most wanted of the first round.

# %%
one_seed = study.acquisitions[study.acquisitions.seed == study.parameters["seeds"][0]].query("0 < round <= 3")
pictures = [(n, m) for (n, m), _ in one_seed.groupby(["dataset", "model"], sort=False)
            if study.datasets[n].description.modality == "image"]
arms = study.parameters["acquisitions"]
if pictures:
    height = len(pictures) * (0.5 + 0.55 * one_seed["round"].nunique())
    figure, axes = plt.subplots(len(pictures), len(arms), figsize=(4.6 * len(arms), height), squeeze=False)
    for row, (dataset, model) in zip(axes, pictures, strict=True):
        of_row = one_seed[(one_seed.dataset == dataset) & (one_seed.model == model)]
        for ax, arm in zip(row, arms, strict=True):
            plotting.contact_sheet(ax, study.datasets[dataset], of_row[of_row.acquisition == arm])
            ax.set_title(f"{study.title(dataset, model)}, {plotting.name(arm)}", fontsize="small")
    study.save(figure, "first_questions")

# %%
for dataset, data in study.datasets.items():
    if data.description.modality == "text":
        asked = one_seed[(one_seed.dataset == dataset) & (one_seed["round"] == 1) & (one_seed["rank"] < 5)]
        texts = data.rows("pool").text.iloc[asked["index"]].str.slice(0, 120).to_numpy()
        display(plotting.show(asked[["model", "acquisition", "label", *data.description.latent]].assign(text=texts)))

# %% [markdown]
# ## The paper's claims beside ours

# %%
claims.show(claims.check("03_subgroup_upsampling", study))

# %% [markdown]
# ## What we read from it
# Where a minority subgroup's bar of least confidence rises above its line while random sampling stays on it, the
# model singled these examples out. Compare minority subgroups with the rarer *class*: if only the class were sought, both of
# its subgroups would rise alike. A latent attribute is the harder test, because no label speaks of it; where its rare values
# are oversampled, the representation knows them. Whether the extra labels pay off is the business of notebook 01.
