# %% [markdown]
# # Label your own: a person as the oracle
#
# **The claim.** The loop needs nothing of its oracle but answers (paper, section 2). So a person can take the place of the labels
# that the other notebooks look up: the model asks, somebody at a keyboard answers, and what holds for the simulation holds for
# the person. Told the same labels, the session below should ask the very questions of the stored run and end as accurate.
#
# First a simulated person drives the session, to check just that and to show its programming interface, which any tool can use.
# Then it is your turn, with buttons and keys: on the same pictures or, with `collection` and `classes` below, on your own. Every
# label is on the disk before the next picture shows. Close the browser, restart the kernel: it goes on at the same picture.
#
# **What would count against it.** A question that differs from the stored run's, or an accuracy that does.

# %% tags=["parameters"]
preset = "mini"  # smoke | mini | paper: which data and models the names below stand for
datasets = [
    "digits"
]  # the first one's pool is what the simulated person labels: names, or folders that hold a manifest
collection = ""  # yours: a folder of pictures or a csv of texts, such as "../my/pictures"; "" takes the dataset's pool
classes = []  # the names of your classes, such as ["cat", "dog"]; [] takes the dataset's
check_set = ""  # csv with id and label of examples held out to estimate the accuracy; "" takes the dataset's, yours has none
who = ""  # your name, written beside each label
models = []  # names or timm:NAME, hf:NAME; "-np" is not pretrained; [] takes each dataset's own
acquisitions = [
    "random",
    "least_confidence",
]  # random | least_confidence | entropy | margin; the last one asks the person
seeds = [1, 11, 21, 31, 41]  # one run per seed and arm; the session has the first
weights = None  # file or folder of pretrained weights, or {model: file}; None takes the model's own
protocol = {}  # labels: seed_set_size, query_batch_size, pool_subsample, ...; {} takes each dataset's own
recipe = {}  # fine-tuning: lr, max_steps, optimizer, ...; {} takes each dataset's own
output = "figures/custom"  # folder for figures and tables
workers = 0  # processes; 0 takes one per core

# %%
from companion.runs.plan import plan_runs
from alpt_lib import files, loop
from companion.labelling import session, simulated
from companion.report import claims, contact_sheets, plotting, study
from companion.runs import plan, store
import tempfile
from dataclasses import asdict
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import torch

from companion.labelling.screen import LabelWidget

plotting.house_style()

# %%
study = study.run("11_label_your_own", globals())

# %% [markdown]
# ## The interface: ask, tell, train
# A session is opened with what is to be labelled and the names of the classes. Here these are the pictures of a dataset's pool,
# whose labels only the simulated person knows, with its validation split as the check set. Model, recipe and seed are those of
# the stored run that we compare with.

# %%
planned = next(
    p
    for p in plan_runs(study.parameters)
    if p.config.acquisition == study.parameters["acquisitions"][-1]
)
run, data = planned.config, study.datasets[planned.dataset]
folder = files.home() / "data" / "labels" / Path(study.parameters["output"]).name / data.name
source, check, truth = simulated.as_collection(data, folder)
settings = {
    "model": run.model,
    "acquisition": run.acquisition,
    "seed": run.seed,
    "weights": run.weights,
    "protocol": asdict(run.protocol),
    "recipe": asdict(run.recipe),
    "image_size": data.description.image_size,
    "max_tokens": data.description.max_tokens,
}
session = session.open_session(
    source, data.classes, tempfile.mkdtemp(), who="simulated", check=check, **settings
)
print(f"{len(truth)} items to label, {len(check)} in the check set; {session.progress().status}")

# %% [markdown]
# Labels may be told about any item, asked for or not. So the stored run's seed set comes first. Then a few rounds of the loop:
# train from the initial weights, ask for a query batch, tell the labels.

# %%
torch.set_num_threads(1)  # as in the stored runs: the same sums, to the last digit
for row in loop.start_pool(data, run).labelled:
    id_ = session.collection.ids[row]
    session.tell(id_, truth[id_])

n_rounds = min(2, run.protocol.n_rounds)
for _ in range(n_rounds):
    session.refit()
    for item in session.ask(run.protocol.query_batch_size):
        session.tell(item.id, truth[item.id])
session.refit()
session.progress()

# %% [markdown]
# Was it the same loop? Beside each round of the session, the stored run: how many of the questions are the same, in the same
# order, and the accuracy on the check set.

# %%
stored = store.acquisitions_of(run)
told = pd.DataFrame([asdict(label) for label in session.labels.rows])
told["index"] = told["id"].map(session.collection.row)
accuracy = (
    store.metrics_of(run)
    .query("metric == 'accuracy' and subgroup == 'all'")
    .query("split == @data.eval_splits[0]")
)
rows = []
for fit in session.fits:
    ours, theirs = (list(t.loc[t["round"] == fit["round"], "index"]) for t in (told, stored))
    known = accuracy.loc[accuracy["round"] == fit["round"], "value"]
    rows.append(
        {
            "round": fit["round"],
            "labels": fit["n_labels"],
            "questions": len(ours),
            "as_in_the_stored_run": sum(a == b for a, b in zip(ours, theirs, strict=False)),
            "accuracy": fit["check_accuracy"],
            "of_the_stored_run": known.iloc[0] if len(known) else float("nan"),
            "gradient_steps": fit["n_steps"],
        }
    )
table = pd.DataFrame(rows)
study.save_table(table, "session_beside_stored_run")
plotting.show_table(table)

# %% [markdown]
# ## The same as a figure
#
# **Figure.** Left: the session's accuracy (squares) beside the stored run's (dotted), on the curves over all seeds with their 95%
# bands. Right: what the person was asked, one row a round, most wanted first; round 0 is the seed set. Frames mark the minority
# subgroups, of which nobody was told; the bar below a picture has its subgroup's colour.

# %%
is_image = data.description.modality == "image"
figure, axes = plt.subplots(1, 1 + is_image, figsize=(5 + 4.5 * is_image, 3.4), squeeze=False)
curves = study.main.query(
    "metric == 'accuracy' and subgroup == 'all' and dataset == @data.name and model == @planned.model"
)
plotting.curve(axes[0, 0], curves)
of_run = curves[curves["run_id"] == store.run_id(run)]
axes[0, 0].plot(
    of_run["n_labels"], of_run["value"], ":", color="black", label=f"stored run, seed {run.seed}"
)
axes[0, 0].plot(
    table["labels"],
    table["accuracy"],
    "s",
    markersize=8,
    fillstyle="none",
    color="black",
    label="this session",
)
axes[0, 0].set(
    title=study.title(data.name, planned.model), xlabel="labels", ylabel="validation accuracy"
)
axes[0, 0].legend(fontsize="small")
if is_image:
    asked = told.assign(
        rank=told.groupby("round").cumcount(), subgroup=data.subgroup("pool")[told["index"]]
    )
    contact_sheets.contact_sheet(axes[0, 1], data, asked)
    axes[0, 1].set_title("what the person was asked", fontsize="small")
figure.suptitle(plotting.seed_note(study.runs), fontsize="small", x=0.01, ha="left")
study.save(figure, "session")

# %% [markdown]
# ## As people are
# They answer in another order, leave some out, correct themselves, and sometimes cannot tell. What is not answered is asked
# again; "can't tell" is kept out of the training; the last label of an item counts; `undo` takes back one after the other.

# %%
first, second, third, *others = [item.id for item in session.ask(5)]
session.tell(third, truth[third])
session.tell(first, session.CANNOT_TELL)
session.tell(second, next(name for name in data.classes if name != truth[second]))
session.tell(second, truth[second])
assert [item.id for item in session.ask()][: len(others)] == others
print(
    f"taken back: {'the last label' if session.undo() == second else 'another'}; asked for it again: "
    f"{session.ask()[0].id == second}"
)
plotting.show_table(
    pd.read_csv(session.folder / "labels.csv").tail(5)[["id", "label", "who", "round", "score"]]
)

# %% [markdown]
# Those are the last lines of `labels.csv`: one a decision, never changed, the last one of an id counts; an empty label takes one
# back. Beside it lie what was asked (`asked.jsonl`), which is why a restart shows the same item without training first, how each
# training went (`fits.jsonl`), and what the files looked like when they were labelled (`seen.jsonl`).
#
# ## With your own hands
# Click into the frame, then use the keys: `1` to `9` for the classes, `0` for "can't tell", `s` to skip, `u` or Backspace to
# undo. It asks at random until the seed set is full (20 labels, unless `protocol` says otherwise) and every class was met. From
# then on a model is trained whenever a query batch of 10 was labelled, in the background, while you go on. The line below the
# buttons always says what it is doing, and why.
#
# For your own files set `collection` and `classes` at the top. Subfolders are searched, copies are asked for once, what cannot be
# read is named and left out. Labels go to a folder of their own below `data/labels`, which is printed here.

# %%
p = study.parameters
if p["collection"]:
    chosen = {name: p[name] for name in ("weights", "protocol", "recipe")} | (
        {"model": p["models"][0]} if p["models"] else {}
    )
    mine = session.open_session(
        p["collection"],
        p["classes"],
        who=p["who"],
        check=p["check_set"] or None,
        seed=run.seed,
        acquisition=run.acquisition,
        **chosen,
    )
else:
    mine = session.open_session(
        source,
        data.classes,
        folder / "labels",
        who=p["who"],
        check=check,
        **{**settings, "protocol": p["protocol"]},
    )
folder_name = (
    mine.folder.relative_to(files.home())
    if mine.folder.is_relative_to(files.home())
    else mine.folder
)
print(
    f"labels go to {folder_name}; {mine.progress().n_labels} are there already",
    *mine.notes,
    sep="\n",
)
LabelWidget(mine)

# %% [markdown]
# ## Out again, and in from elsewhere
# `export` writes a csv or, for a name that ends in `.json`, tasks for Label Studio, whose exports `import_labels` reads, as it
# reads any csv with the columns id and label. Of the csv, one command makes a dataset folder for all other notebooks:
#
# ```bash
# python data_prep/your_dataset.py --table labelled.csv --out data/mine    # then datasets = ["../data/mine"] in 01 or 03
# ```

# %%
session.export(folder / "labelled.csv")
session.export(folder / "label_studio.json")
again = session.open_session(source, data.classes, tempfile.mkdtemp(), check=check, **settings)
counts = {
    "exported": len(session.table().query("split == 'pool'")),
    "from Label Studio": again.import_labels(folder / "label_studio.json"),
    "from csv, new": again.import_labels(folder / "labelled.csv"),
}
for opened in (session, again):
    opened.close()
counts

# %% [markdown]
# ## The paper's claims beside ours
# The paper's oracle is simulated too; it has no claim about people, so the table stays empty.

# %%
claims.show_claims(claims.check_claims("11_label_your_own", study))

# %% [markdown]
# ## What we read from it

# %%
same, all_ = table["as_in_the_stored_run"].sum(), table["questions"].sum()
largest = (table["accuracy"] - table["of_the_stored_run"]).abs().max()
print(
    f"{same} of {all_} questions are the stored run's, in the same order; accuracies differ by at most {largest:.3f}."
)

# %% [markdown]
# *All of them, and no difference*: a person at the keyboard and the simulated oracle drive one and the same loop, and the other
# notebooks' results are what to expect of a person who answers as the labels do. *Fewer*: with `random`, or where the protocol
# scores only a part of the pool, ties and chance are drawn in another order; for any other reason it is a fault worth a report.
#
# A person is slower than a look-up and is sometimes wrong. What a wrong label costs, and whether questions that a model finds
# hard are hard for people too, this notebook cannot say.
#
# **What would have counted against it.** With least confidence and the whole pool scored, fewer questions in common than were
# asked; or an accuracy that differs from the stored run's, though the labels told were the same.
