# %% [markdown]
# # Your own data, from a folder of files to the figures
#
# **The claim.** What the paper found on its datasets can be tried on yours without writing code: a
# pretrained model that asks for the examples it is least confident about should end more accurate
# than one with as many labels drawn at random (section 5.1), and what it asks for shows what the
# task leaves open, even where nobody wrote down which examples are rare (section 6.1).
#
# The first half of this notebook turns files into a *dataset folder*: pictures in class folders, a
# csv, a parquet of texts, a Hugging Face dataset. The second half is the same for every such
# folder. As it stands it shows the drawn Waterbirds, whose runs notebooks 01 and 03 share; put your
# folder into `datasets` below and Run All.
#
# **What would count against it.** On your data: a final gain whose interval includes 0 or lies
# below it, or questions that look just like examples drawn at random, in their classes and on the
# contact sheet.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["waterbirds"]  # names, or folders that hold a manifest, such as "../data/mine"
models = []  # names or timm:NAME, hf:NAME; "-np" is not pretrained; [] takes each dataset's own
acquisitions = ["random", "least_confidence"]  # random | least_confidence | entropy | margin
seeds = [1, 11, 21, 31, 41, 51, 61, 71]  # one run per seed and arm
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {}  # labels: seed_set_size, budget, query_batch_size, ...; {} takes each dataset's own
recipe = {}  # fine-tuning: lr, max_steps, optimizer, ...; {} takes each dataset's own
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
import json
import sys
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pyarrow as pa
from IPython.display import display
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_digits

from alpt_lib import files
from companion.report import contact_sheets, estimates, plotting, readings
from companion.report.study import run_study

# %%
sys.path.insert(0, str(files.REPOSITORY / "data_prep"))
import your_dataset

plotting.house_style()

# %% [markdown]
# ## From files to a dataset folder
# One command in a terminal, at the top of the checkout. Take the line that fits what you have:
#
# ```bash
# python data_prep/your_dataset.py --images path/to/pictures --out data/mine
# python data_prep/your_dataset.py --table pictures.csv --out data/mine \
#     --image-column file --label-column digit
# python data_prep/your_dataset.py --table reviews.parquet --out data/mine \
#     --text-column review --label-column verdict
# # a folder, or a name on the hub
# python data_prep/your_dataset.py --hugging-face path/to/saved_or_parquet --out data/mine
# # embeddings of any model or service: .npy, .npz, or a column of lists in a parquet
# python data_prep/your_dataset.py --table labels.csv --features x.npy --out data/mine
# python data_prep/your_dataset.py --table x.parquet --features-column embedding --out data/mine
# ```
#
# It checks every file, keeps the splits that it finds (folders, a column, or files named train,
# val, test) or draws a validation split from a seed, and writes `manifest.csv` and `dataset.yaml`.
# `--subgroups label ink` names columns whose values tell subgroups apart, if you have such. All
# options: `python data_prep/your_dataset.py --help`.
#
# To see all of them at work, here are a hundred little pictures of threes and eights, some in light
# ink on dark paper.

# %%
demo, digits = files.home() / "data" / "your_dataset_demo", load_digits()
for i in np.flatnonzero(np.isin(digits.target, [3, 8]))[:100]:
    file = demo / "pictures" / {3: "three", 8: "eight"}[digits.target[i]] / f"{i:04}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    ink = 15.9 * digits.images[i]
    Image.fromarray(np.uint8(ink if i % 5 == 0 else 255 - ink)).resize((32, 32)).save(file)

# %% [markdown]
# The same as a csv, which also knows the ink.

# %%
files = sorted((demo / "pictures").rglob("*.png"))
table = pd.DataFrame({"file": [file.relative_to(demo).as_posix() for file in files]})
table["digit"] = [file.parent.name for file in files]
table["ink"] = ["light" if int(file.stem) % 5 == 0 else "dark" for file in files]
table.to_csv(demo / "pictures.csv", index=False)

# %% [markdown]
# As the parquet file of a Hugging Face dataset.

# %%
names = ["eight", "three"]
pictures = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
labels = [names.index(file.parent.name) for file in files]
features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
metadata = {"huggingface": json.dumps({"info": {"features": features}})}
content = pa.table({"image": pictures, "label": labels}).replace_schema_metadata(metadata)
(demo / "hub").mkdir(exist_ok=True)
parquet.write_table(content, demo / "hub" / "0000.parquet")

# %% [markdown]
# As embeddings, with a row for each picture: yours come from a network or a service, here the 64
# pixels of a smaller picture will do.

# %%
small = [np.asarray(Image.open(file).resize((8, 8)), dtype=float) / 255 for file in files]
vectors = table.assign(embedding=[list(pixels.ravel()) for pixels in small])
vectors.to_parquet(demo / "embeddings.parquet")

# %% [markdown]
# And a few texts.

# %%
words = {"good": ["superb", "handy", "lovely", "solid"]}
words["bad"] = ["dreadful", "flimsy", "dull", "wobbly"]
reviews = []
for thing in ("kettle", "tent", "violin"):
    for label in words:
        reviews += [(f"the {thing} is {word}", label) for word in words[label]]
pd.DataFrame(reviews, columns=["review", "verdict"]).to_parquet(demo / "reviews.parquet")

# %%
columns = {"text": "review", "label": "verdict"}
embedded = (demo / "embeddings.parquet", None, "embedding", {"label": "digit"})
sources = {
    "folders": your_dataset.from_folders(demo / "pictures"),
    "csv": your_dataset.from_table(demo / "pictures.csv", demo / "csv", {"label": "digit"}),
    "embeddings": your_dataset.from_features(*embedded),
    "texts": your_dataset.from_table(demo / "reviews.parquet", demo / "texts", columns),
}
# their package is an extra: pip install -e '.[hugging-face]'
if find_spec("datasets"):
    hub = your_dataset.from_hugging_face(demo / "hub", demo / "Hugging Face")
    sources["Hugging Face"] = hub

# %%
subgroups = {"csv": ["label", "ink"]}
prepared = {}
for name, source in sources.items():
    options = {"name": "demo", "subgroups": subgroups.get(name, [])}
    prepared[name] = your_dataset.prepare(source, demo / name, **options)

# %%
expected = prepared["folders"].manifest[["label", "split"]]
rows = []
for name, folder in prepared.items():
    is_same = folder.manifest[["label", "split"]].equals(expected)
    row = {"source": name, "same labels and splits as folders": is_same}
    rows.append(
        row | dict(folder.manifest["split"].value_counts()) | folder.description["protocol"]
    )
plotting.show_table(pd.DataFrame(rows))

# %% [markdown]
# The picture sources give the same labels and splits, embeddings too. The columns on the right are
# the protocol that was written into `dataset.yaml`: a seed set of the same size for each class,
# then eight rounds, in all no more than a third of the pool. It is a start; edit the file, or set
# `protocol` and `recipe` above.
#
# **Which model.** Without `--model` the dataset takes a miniature that comes with this repository:
# a first look in minutes, without a download, at 32 px or 40 tokens. For results to rely on take a
# real one, with `--model timm:resnet18.a1_in1k` or `hf:roberta-base`, or by `models` above; beside
# it the same name with `-np` shows what pretraining does. Embeddings need none: a linear head is
# trained on them, in seconds.
#
# ## The runs
# From here on everything is about `datasets`. What is stored already is reused; what is missing is
# trained now.

# %%
study = run_study("10_your_dataset", globals())

# %% [markdown]
# ## What asking gains, and the labels it saves
# This needs no subgroups. `gain` is the final difference to random sampling, paired by seed, with a
# 95% interval (Student's t). `times fewer labels` is how much sooner the mean curve reaches random
# sampling's final value; a dash means that it never does.

# %%
by = ["dataset", "model", "metric"]
curves = study.headline
table = estimates.paired_gains(curves, by)
table = table.join(estimates.savings(curves, by), on=[*by, "acquisition"])
study.save_table(table, "final_gains")
plotting.show_table(table)

# %% [markdown]
# **Figure.** Accuracy on validation data against the number of labels, seed set included: least
# confidence in blue, random sampling in grey; a row a dataset and model, at most two metrics each.
# Lines are means over seeds, bands their 95% intervals.

# %%
figure = plotting.curve_grid(study, curves)
plotting.note_seeds(figure, study.runs)
study.save(figure, "accuracy_curves")
study.save_table(estimates.seed_means(curves, [*by, "acquisition", "n_labels"]), "accuracy_curves")

# %% [markdown]
# ## Subgroups unknown: what can still be seen
# The usual case: nobody has written down what varies. Two things show it all the same. The **class
# mix**: does asking leave the pool's proportions? A class that is asked for far more often is the
# one that the model finds hard, or that hides several kinds.
#
# **Figure.** Share of each class among all queried examples; the orange lines are its share of the
# pool. Bars are means over seeds, whiskers their 95% intervals.

# %%
asked = study.acquisitions[study.acquisitions["round"] > 0]
mix = []
for dataset, data in study.datasets.items():
    labels = estimates.pool_values(data, "label")
    mix.append(estimates.upsampling_by_run(asked[asked.dataset == dataset], "label", labels))
mix = pd.concat(mix, ignore_index=True).rename(columns={"label": "class"})
mix = mix.assign(value=mix.share_acquired)
by_class = ["dataset", "model", "class", "share_pool", "acquisition"]
study.save_table(estimates.seed_means(mix, by_class), "class_mix")

# %%
panels = list(mix.groupby(["dataset", "model"], sort=False))
figure, axes = plotting.panels(len(panels))
labels = {"ylabel": "share of queried", "ylim": (0, None)}
for ax, ((dataset, model), rows) in zip(axes, panels, strict=True):
    pool = rows.groupby("class").share_pool.first()
    title = f"{study.title(dataset, model)}, by class"
    plotting.bars_with_pool_share(ax, rows, pool, "class", title=title, **labels)
plotting.legend(figure, axes[0], columns=3)
plotting.note_seeds(figure, study.runs)
study.save(figure, "class_mix")

# %% [markdown]
# And the **contact sheet**: what was asked for, one row a round, most wanted first, here for the
# first seed, without any knowledge of subgroups. Random sampling, on the left, shows the pool as it
# is. Look for what the right side has in common.
#
# **Figure.** What random sampling and least confidence asked for in the first rounds of one seed, a
# row a round, most wanted first, pictures as the model gets them, resized to a square. Nothing is
# marked.

# %%
one_seed = asked[asked.seed == study.parameters["seeds"][0]].assign(subgroup="")
n_rounds = {dataset: 3 if data.is_text else 8 for dataset, data in study.datasets.items()}
shown = one_seed[one_seed["round"] <= one_seed.dataset.map(n_rounds)]
figure = contact_sheets.sheet_grid(study, shown)
study.save(figure, "contact_sheet")

# %% [markdown]
# If you recognise something, write it down: add a column for it to the manifest in your dataset
# folder, name it under `subgroups` in `dataset.yaml`, and the next section says how much more often
# it is asked for.
#
# ## Subgroups known: how much more often they are asked for
#
# **Figure.** Left: each subgroup's share of the queried examples; the orange lines are its share of
# the pool. Right: the ratio of the two; 1 is what chance gives. Bars are means over seeds, whiskers
# their 95% intervals.

# %%
counts = []
for dataset, data in study.datasets.items():
    if data.description.subgroups:
        pool = estimates.pool_values(data, "subgroup")
        counts.append(
            estimates.upsampling_by_run(asked[asked.dataset == dataset], "subgroup", pool)
        )
if counts:
    counts = pd.concat(counts, ignore_index=True).assign(value_of=lambda rows: rows.subgroup)
    order = counts.sort_values("share_pool", ascending=False, kind="stable")
    figure = plotting.upsampling_grid(study, order.assign(attribute="subgroup"))
    plotting.note_seeds(figure, study.runs)
    study.save(figure, "subgroup_upsampling")

# %%
if len(counts):
    by_subgroup = ["dataset", "model", "subgroup", "share_pool", "acquisition"]
    ratios = estimates.seed_means(counts.assign(value=counts.ratio), by_subgroup)
    ratios = ratios.rename(columns={"mean": "times_the_pool_share"})
    study.save_table(ratios, "subgroup_upsampling")
    display(plotting.show_table(ratios))
else:
    print("no subgroup columns are named in dataset.yaml")

# %% [markdown]
# ## What we read from it

# %%
readings.reading(study, gains=table)

# %% [markdown]
# An interval above 0: asking pays on these data with this model; `times fewer labels` says what it
# is worth. One that holds 0: more seeds narrow it, if it is worth knowing. Where asking gains
# nothing, notebook 08 tells one reason, data far from what pretraining saw, and a look at the
# contact sheet another: wrong labels and broken pictures are what a model is least sure of, and
# they are asked for first. That is worth finding out too.
#
# <details><summary>What would have counted against it</summary>
#
# On your data: an interval that holds 0 or lies below it, class shares that stay on the pool's
# lines, and a right side of the contact sheet that looks like the left.
#
# </details>
