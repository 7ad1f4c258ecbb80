# %% [markdown]
# # Label your own: a person as the oracle
#
# **The claim.** In the paper the labels come from a table (section 2). Here they come from you: the
# loop is the same code, so what holds for the simulation holds for a person. Told the labels of a
# stored run, a session should ask that run's very questions and end as accurate.
#
# Your turn comes first, with buttons and keys: on pictures of the miniatures or, with `collection`
# and `classes` below, on your own. Every label is on the disk before the next picture shows. Close
# the browser, restart the kernel, Run > Run All Cells: it goes on at the same picture. Then a
# simulated person drives a session through its programming interface, which any tool can use, and
# checks that it is the same loop.
#
# **What would count against it.** A question that differs from the stored run's, or an accuracy
# that does.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | real | paper: which data and models the names below stand for
datasets = ["digits"]  # the first one's pool is labelled: names, or folders that hold a manifest
collection = ""  # yours: folder of pictures or csv of texts ("../my/pictures"); "" takes the pool
classes = []  # the names of your classes, such as ["cat", "dog"]; [] takes the dataset's
check_set = ""  # csv with id and label of examples held out to estimate the accuracy of yours
who = ""  # your name, written beside each label
models = []  # names or timm:NAME, hf:NAME; "-np" is not pretrained; [] takes each dataset's own
acquisitions = ["random", "least_confidence"]  # random | least_confidence | ...; the last asks you
seeds = [1, 11, 21]  # one run per seed and arm; the session has the first
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {}  # labels: seed_set_size, query_batch_size, ...; {} takes each dataset's own
recipe = {}  # fine-tuning: lr, max_steps, ...; {}: each dataset's own in runs, a head for you
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
import tempfile
from dataclasses import asdict
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from alpt_lib import files
from companion import labelling
from companion.labelling import simulated
from companion.report import contact_sheets, plotting
from companion.report.study import run_study
from companion.runs import parameters, plan

# %% [markdown]
# ## With your own hands
# Click into the frame, then use the keys: `1` to `9` for the classes, `0` for "can't tell", `s` to
# skip, `u` or Backspace to undo, `m` for what the model takes the picture for: that is hidden until
# you ask, so that it does not sway you. It asks at random until the seed set is full (20 labels,
# unless `protocol` says otherwise) and every class was met. Meanwhile, from your first answer on,
# the features of all pictures are computed in the background. From then on a linear head on the
# frozen network is trained after each answer, and the next question is that model's. With
# `recipe = {"backbone": "fine-tuned"}`, or any other settings of fine-tuning, the whole network is
# trained whenever a query batch of 10 was labelled, while you go on. The line below the buttons
# always says what it is doing, and why; also when the model is sure of all that is left.
#
# For your own files set `collection` and `classes` at the top. Subfolders are searched, copies are
# asked for once, what cannot be read is named and left out. A text without an id is known by its
# content, so rows may be added and sorted. Labels go to a folder of their own, which is printed.

# %%
given = parameters.read_parameters(globals())
plan.prepare_datasets(given)
asks = given["acquisitions"][-1]
planned = next(each for each in plan.plan_runs(given) if each.config.acquisition == asks)
run, data = planned.config, planned.data
folder = files.home() / "data" / "labels" / Path(given["output"]).name / data.name
source, check, truth = simulated.as_collection(data, folder)
parts = {name: asdict(getattr(run, name)) for name in ("protocol", "recipe")}
sizes = {name: getattr(data.description, name) for name in ("image_size", "max_tokens")}
same = {name: getattr(run, name) for name in ("model", "acquisition", "seed", "weights")}
as_stored = {**same, **parts, **sizes}

# %%
yours = {name: given[name] for name in ("weights", "protocol")}
yours["recipe"] = {"backbone": "fine-tuned", **given["recipe"]} if given["recipe"] else {}
yours |= {"acquisition": asks, "seed": run.seed, "who": given["who"]}
yours |= {"model": given["models"][0]} if given["models"] else {}
if given["collection"]:
    held_out = given["check_set"] or None
    mine = labelling.open_session(given["collection"], given["classes"], check=held_out, **yours)
else:
    own = {**same, **sizes, **yours, "model": run.model, "weights": run.weights, "check": check}
    mine = labelling.open_session(source, data.classes, folder / "labels", **own)
n_labels = mine.progress().n_labels
print(f"labels go to {mine.place}; {n_labels} are there already", *mine.notes, sep="\n")
labelling.LabelWidget(mine)

# %% [markdown]
# Run the next cell when you are done, or in between. It writes your labels as a csv, for you and
# your spreadsheet, and as a parquet, which the command takes that it prints: that makes a dataset
# folder of them for all other notebooks. `import_labels` reads such files, any table with the
# columns label and id, path or text, and the exports of Label Studio; `mine.export("tasks.json")`
# writes tasks for it.

# %%
mine.export(mine.folder / "labelled.csv")
mine.export(mine.folder / "labelled.parquet")
print(f"{mine.progress().n_labels} labels are in {mine.place}/labelled.csv and .parquet; next:")
print(f"python data_prep/your_dataset.py --table {mine.place}/labelled.parquet --out data/mine")
print('then datasets = ["../data/mine"] in notebook 01 or 03')

# %% [markdown]
# In that folder, `labels.csv` has a line for each decision, the last one of an id counts, and an
# empty label takes one back. You may correct it in a spreadsheet: what you change counts the next
# time, and what the session had is never lost, for `told.jsonl` holds it too, with the content that
# each label was given to. `asked.jsonl` is why a restart shows the same item without training
# first; `fits.jsonl` says how each training went.
#
# ## Is it the same loop?
# The runs that we compare with, stored or done now. A simulated person, who knows the labels of the
# pool, then tells a session with the model, recipe and seed of such a run first its seed set, for
# labels may be told about any item, asked for or not; and then does a few rounds of the loop: train
# from the initial weights, ask for a query batch, tell the labels.

# %%
study = run_study("11_label_your_own", globals())
plotting.house_style()
# as in the stored runs: the same sums, to the last digit
torch.set_num_threads(1)

# %%
stored = planned.run.acquisitions()
robot = {"who": "simulated", "check": check, **as_stored}
session = labelling.open_session(source, data.classes, tempfile.mkdtemp(), **robot)
for row in stored.query("round == 0")["index"]:
    id_ = session.collection.ids[row]
    session.tell(id_, truth[id_])
for _ in range(min(2, run.protocol.n_rounds)):
    session.refit()
    for item in session.ask(run.protocol.query_batch_size):
        session.tell(item.id, truth[item.id])
session.refit()
print(session.progress().status)

# %% [markdown]
# Beside each round of the session, the stored run: how many of the questions are the same, in the
# same order, and the accuracy on the check set.

# %%
told = pd.DataFrame([asdict(label) for label in session.labels.rows])
told["index"] = told["id"].map(session.collection.row)
told["rank"] = told.groupby("round").cumcount()
both = told.merge(stored, on=["round", "rank"], suffixes=("", "_stored"))
is_same = both["index"] == both["index_stored"]
split = data.eval_splits[0]
measured = planned.run.metrics().query("split == @split and subgroup == 'all'")
accuracy = measured.query("metric == 'accuracy'").set_index("round")["value"]
table = pd.DataFrame(session.fits)[["round", "n_labels", "n_steps", "check_accuracy"]]
table.columns = ["round", "labels", "gradient_steps", "accuracy"]
table["of_the_stored_run"] = table["round"].map(accuracy)
table["questions"] = table["round"].map(told.groupby("round").size())
table["as_in_the_stored_run"] = table["round"].map(is_same.groupby(both["round"]).sum())
study.save_table(table, "session_beside_stored_run")
plotting.show_table(table)

# %% [markdown]
# **Figure.** Left: the session's accuracy (squares) beside the stored run's (dotted), on the curves
# over all seeds with their 95% bands. Right: what the person was asked, one row a round, most
# wanted first; round 0 is the seed set. Orange frames mark the disambiguating examples, of which
# nobody was told.

# %%
figure, axes = plt.subplots(1, 1 + (not data.is_text), figsize=(9.5, 3.4), squeeze=False)
ax = axes[0, 0]
curves = study.main.query("metric == 'accuracy' and subgroup == 'all' and dataset == @data.name")
curves = curves[curves["model"] == planned.model]
plotting.curve(ax, curves)
of_run = curves[curves["run_id"] == planned.run.run_id]
ax.plot(of_run["n_labels"], of_run["value"], "k:", label=f"stored run, seed {run.seed}")
ax.plot(table["labels"], table["accuracy"], "ks", mfc="none", label="this session")
ax.set(title=study.title(data.name, planned.model), xlabel="labels", ylabel="validation accuracy")
ax.legend(fontsize="small")
if not data.is_text:
    shown = told.assign(subgroup=data.subgroup("pool")[told["index"]])
    contact_sheets.contact_sheet(axes[0, 1], data, shown)
plotting.note_seeds(figure, study.runs)
study.save(figure, "session")

# %% [markdown]
# ## As people are
# They answer in another order, leave some out, correct themselves, and sometimes cannot tell. What
# is not answered is asked again; "can't tell" is kept out of the training; the last label of an
# item counts; `undo` takes back one after the other.

# %%
first, second, third, *others = [item.id for item in session.ask(5)]
session.tell(third, truth[third])
session.tell(first, labelling.CANNOT_TELL)
session.tell(second, next(name for name in data.classes if name != truth[second]))
session.tell(second, truth[second])
print(f"still asked for: {[item.id for item in session.ask()][: len(others)] == others}")
print(f"undone: the last label {session.undo() == second}, and asked for again:", end=" ")
print(session.ask()[0].id == second)
decisions = pd.read_csv(session.folder / "labels.csv").tail(5)
plotting.show_table(decisions[["id", "label", "who", "round", "score"]])

# %% [markdown]
# And their labels go through other tools and come back: to Label Studio and from there, by a csv.

# %%
out = Path(tempfile.mkdtemp())
session.export(out / "label_studio.json")
session.export(out / "labelled.csv")
again = labelling.open_session(source, data.classes, out / "again", **robot)
n_exported = len(session.table().query("split == 'pool'"))
n_back = again.import_labels(out / "label_studio.json")
n_new = again.import_labels(out / "labelled.csv")
session.close()
again.close()
print(f"{n_exported} labels and a can't tell went out, {n_back} came back, {n_new} new by csv")

# %% [markdown]
# ## What we read from it

# %%
n_same = table["as_in_the_stored_run"].sum()
n_asked = table["questions"].sum()
largest = (table["accuracy"] - table["of_the_stored_run"]).abs().max()
is_same = n_same == n_asked and not largest > 0
print("It is the same loop:" if is_same else "It is not quite the same loop:", end=" ")
print(f"{n_same} of {n_asked} questions are the stored run's, in the same order;", end=" ")
print(f"accuracies differ by at most {largest:.3f}.")

# %% [markdown]
# So the other notebooks' results are what to expect of a person who answers as the labels do. With
# `random`, or where the protocol scores only a part of the pool, ties and chance are drawn in
# another order, and fewer questions are the same; for any other reason that would be a fault worth
# a report. A person is slower than a look-up and is sometimes wrong. What a wrong label costs, and
# whether questions that a model finds hard are hard for people too, this notebook cannot say.
#
# <details><summary>What would have counted against it</summary>
#
# With least confidence and the whole pool scored, fewer questions in common than were asked; or an
# accuracy that differs from the stored run's, though the labels told were the same.
#
# </details>
