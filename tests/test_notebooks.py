"""Every notebook: form, parameters, and one execution at the smoke preset through the command."""

import ast
import json
import os
import shutil
import subprocess
import sys

import jupytext
import matplotlib as mpl
import pandas as pd
import pytest
import yaml

from alpt_lib.files import REPOSITORY
from companion import notebook_text
from companion.report import export, render
from companion.report.claims import CLAIMS, COLUMNS
from companion.report.study import STORED_ONLY
from companion.runs.parameters import PARAMETERS, PRESETS, check_parameters

mpl.use("Agg")
NAMES = notebook_text.notebook_names()
every_notebook = pytest.mark.parametrize("name", NAMES)

# a drawing, two tutorials, and what rests on embedded features: the same at every preset
ALWAYS_MINI = (
    "00_task_ambiguity",
    "10_your_dataset",
    "11_label_your_own",
    "12_other_ways_to_ask",
    "13_choosing_or_learning",
    "14_after_the_labels",
    "15_imperfect_oracles",
)
# what the photographs themselves have to say something about
ON_PHOTOGRAPHS = [path.stem for path in (notebook_text.NOTEBOOKS / "presets" / "real").glob("*")]


def content(name: str) -> dict:
    return json.loads((notebook_text.NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))


def cells(name: str, kind: str) -> list[dict]:
    return [cell for cell in content(name)["cells"] if cell["cell_type"] == kind]


def is_tagged(cell: dict) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def code(name: str) -> list[str]:
    """Code cells but the one of the parameters."""
    return ["".join(c["source"]) for c in cells(name, "code") if not is_tagged(c)]


# ---- form


@every_notebook
def test_the_pair_is_in_step(name):
    pair = []
    for suffix, form in (("py", "py:percent"), ("ipynb", "ipynb")):
        read = jupytext.read(notebook_text.NOTEBOOKS / f"{name}.{suffix}", fmt=form).cells
        pair.append([(c.cell_type, c.source, c.metadata.get("tags", [])) for c in read])
    assert pair[0] == pair[1]


@every_notebook
def test_no_outputs_are_stored_and_a_kernel_is_named(name):
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells(name, "code"))
    assert content(name)["metadata"]["kernelspec"]["name"] == "python3"


@every_notebook
def test_the_tagged_cell_holds_known_literals_each_with_a_comment(name):
    (tagged,) = ["".join(c["source"]) for c in cells(name, "code") if is_tagged(c)]
    literals = notebook_text.tagged_literals(name)
    assert set(literals) <= set(PARAMETERS)
    assert check_parameters(literals) == {**check_parameters({"datasets": ["x"]}), **literals}
    assert literals["preset"] == "mini"
    assignments = [line for line in tagged.splitlines() if not line.startswith((" ", "}", "]"))]
    assert all("  # " in line for line in assignments)


@every_notebook
def test_it_argues_in_order_claim_counter_evidence_check_reading(name):
    prose = ["".join(c["source"]) for c in cells(name, "markdown")]
    assert prose[0].startswith("# ")
    assert "**The claim.**" in prose[0]
    assert "**What would count against it.**" in prose[0]
    assert any("## What we read from it" in p for p in prose)
    # the reading is made of the tables; what would have counted against it is folded
    *_, reads, last = content(name)["cells"]
    assert reads["cell_type"] == "code"
    *_, fold, paragraph, end = "".join(last["source"]).rstrip().split("\n\n")
    assert fold == "<details><summary>What would have counted against it</summary>"
    assert end == "</details>"
    assert len(paragraph) > 60
    source = "\n".join(code(name))
    assert source.count(f'run_study("{name}", globals())') == 1
    # the section is there where the paper claims something, and nowhere else
    has_claims = name in CLAIMS
    assert any("## The paper's claims beside ours" in p for p in prose) == has_claims
    assert source.count(f'claims.check_claims("{name}", study)') == has_claims


@every_notebook
def test_every_figure_has_a_caption_that_says_what_is_drawn_and_of_how_many_seeds(name):
    described = notebook_text.captions(name)
    assert described
    assert len(set(described.values())) == len(described)
    assert "section" in notebook_text.paper_source(name)
    for figure, caption in described.items():
        assert len(caption) > 80
        assert "seed" in caption.lower(), caption
        (drawn,) = [source for source in code(name) if f'study.save(figure, "{figure}")' in source]
        assert "interval" not in caption or "note_seeds" in drawn or "n_seeds" in drawn


@every_notebook
def test_code_cells_are_short_and_define_nothing_that_wants_a_test(name):
    for source in code(name):
        assert len(source.splitlines()) <= 16, source
        nodes = ast.walk(ast.parse(source))
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in nodes)


@pytest.mark.parametrize("preset", PRESETS)
@every_notebook
def test_presets_set_only_what_every_notebook_defines(name, preset):
    given = notebook_text.preset_parameters(preset, name)
    is_mini = preset == "paper" and name in ALWAYS_MINI
    is_mini |= preset == "real" and name not in ON_PHOTOGRAPHS
    assert given["preset"] == ("mini" if is_mini else preset)
    assert set(given) <= set(notebook_text.tagged_literals(name))


# ---- parameters


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"sead": [1]},
            "unknown parameter 'sead' (did you mean 'seeds'?); known: acquisitions, datasets,",
        ),
        ({"seeds": "many"}, "parameter seeds takes a list of whole numbers, or a mapping of"),
    ],
)
def test_papermill_with_a_bad_parameter_stops_with_a_line_that_lists_what_is_valid(
    overrides, message, tmp_path
):
    target = tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", "notebooks/01_accuracy_curves.ipynb"]
    options = ["-k", "python3", "--no-progress-bar", "-y", yaml.safe_dump(overrides)]
    command += [str(target), *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode != 0
    assert message in render.what_went_wrong(target, done.stderr)


def execute_cells(name: str, **overrides) -> dict:
    """The notebook's code in this process, with parameters replaced as papermill would."""
    quick = {"models": ["bit-m-np"], "seeds": [1], "protocol": {}, "workers": 1}
    namespace = {}
    for cell in cells(name, "code"):
        exec(compile("".join(cell["source"]), name, "exec"), namespace)
        if is_tagged(cell):
            assert set(overrides) <= set(namespace)
            namespace.update({**quick, **overrides})
    mpl.pyplot.close("all")
    return namespace


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("01_accuracy_curves", {}),
        ("01_accuracy_curves", {"acquisitions": ["least_confidence"]}),
        ("01_accuracy_curves", {"acquisitions": ["random", "margin", "entropy"], "seeds": [1, 2]}),
        ("03_subgroup_upsampling", {}),
        ("03_subgroup_upsampling", {"acquisitions": ["random"]}),
        ("05_linear_probes", {}),
        ("06_tsne", {"n_points": 40}),
        ("08_failure_cases", {}),
        ("09_stopping_rule", {}),
        ("10_your_dataset", {}),
        ("10_your_dataset", {"acquisitions": ["random"]}),
        ("11_label_your_own", {}),
        ("12_other_ways_to_ask", {"settings": {}}),
        ("13_choosing_or_learning", {}),
        ("13_choosing_or_learning", {"acquisitions": ["margin", "random"], "seeds": [1, 2]}),
        ("14_after_the_labels", {}),
        ("14_after_the_labels", {"acquisitions": ["margin"]}),
        ("15_imperfect_oracles", {}),
        ("15_imperfect_oracles", {"acquisitions": ["random"]}),
    ],
)
def test_a_new_dataset_comes_by_a_parameter(name, overrides, birds_folder, home):
    study = execute_cells(name, datasets=[str(birds_folder)], **overrides)["study"]
    folder = home / "figures" / "custom" / name
    assert list(folder.glob("*.png"))
    if name in CLAIMS:
        assert list(pd.read_csv(folder / "claims.csv").columns) == COLUMNS
    assert set(study.metrics.dataset) == {"toybirds"}


@pytest.mark.parametrize(
    "name", ["01_accuracy_curves", "03_subgroup_upsampling", "04_pretraining", "10_your_dataset"]
)
def test_a_dataset_without_subgroups_shows_what_it_has(name, birds_copy, home):
    file = birds_copy / "dataset.yaml"
    description = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**description, "name": "plain", "subgroups": []}))
    study = execute_cells(name, datasets=[str(birds_copy)])["study"]
    assert set(study.headline.metric) == {"accuracy"}
    assert list((home / "figures" / "custom" / name).glob("*.png"))


def test_embeddings_whose_pictures_are_there_can_be_labelled(birds_folder, tmp_path, capsys):
    command = ["--model", "bit-m-np", "--name", "mine", "--out", str(tmp_path / "embedded")]
    script = str(REPOSITORY / "data_prep" / "embed.py")
    subprocess.run([sys.executable, script, str(birds_folder), *command], check=True)
    folder = str(tmp_path / "embedded")
    execute_cells("11_label_your_own", datasets=[folder], models=[])
    assert "It is the same loop" in capsys.readouterr().out


# ---- all of them


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The command at the smoke preset, all notebooks: its folder of figures and what it said."""
    folder = tmp_path_factory.mktemp("smoke")
    environment = {**os.environ, "ALPT_HOME": str(folder), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "companion", "run", "--preset", "smoke"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    yield folder / "figures" / "smoke", done
    shutil.rmtree(folder)


def test_the_smoke_preset_executes_every_notebook_and_judges_nothing(smoke):
    output, done = smoke
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert f"{len(NAMES)} of {len(NAMES)} notebooks" in done.stdout
    assert "too small to judge" in done.stdout
    verdicts = set(pd.read_csv(output / "claims.csv")["verdict"])
    assert verdicts == {"too small to judge", "not testable"}
    assert (output / "index.html").exists()
    assert sum(f.stat().st_size for f in output.rglob("*") if f.is_file()) < 10e6


@every_notebook
def test_each_notebook_leaves_figure_table_claims_and_html(smoke, name):
    folder = smoke[0] / name
    figures = {f.stem for f in folder.glob("*.svg")}
    assert figures
    for ending in (".png", notebook_text.NARROW):
        assert all((folder / f"{figure}{ending}").exists() for figure in figures)
    assert figures == set(notebook_text.captions(name))
    tables = {f.name: pd.read_csv(f) for f in folder.glob("*.csv")}
    assert set(tables) - {"claims.csv"}
    assert ("claims.csv" in tables) == (name in CLAIMS)
    known = set(export.dictionary().index)
    assert all(set(table) <= known for table in tables.values())
    page = (folder / f"{name}.html").read_text(encoding="utf-8")
    assert str(REPOSITORY) not in page
    assert "Warning" not in page
    assert f'id="{name}"' in (smoke[0] / "index.html").read_text(encoding="utf-8")


def test_figures_rest_on_the_runs_that_finished_and_say_how_many_did_not(
    birds_folder, home, monkeypatch, capsys
):
    given = {"datasets": [str(birds_folder)], "recipe": {"max_steps": 2}}
    execute_cells("01_accuracy_curves", **given, seeds=[1])
    # as while figures are rendered after a sweep, some of whose runs failed
    monkeypatch.setenv(STORED_ONLY, "1")
    study = execute_cells("01_accuracy_curves", **given, seeds=[1, 2])["study"]
    assert set(study.metrics.seed) == {1}
    said = capsys.readouterr().out
    assert "2 runs found, 0 done now; figures go to figures/custom/01_accuracy_curves" in said
    assert "Left out: 2 of 4 runs, which are not finished." in said
    gains = pd.read_csv(home / "figures" / "custom" / "01_accuracy_curves" / "final_gains.csv")
    assert set(gains.n_seeds) == {1}
