"""The page of a run, index.html: a picture and the answer, every figure, all claims at the end."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from alpt_lib.files import REPOSITORY, write_whole
from companion.notebook_text import NARROW, captions, claim, heading, notebook_names
from companion.report.claims import COLUMNS
from companion.report.export import DICTIONARY
from companion.report.pages import figure, fill, link_neighbours, page
from companion.report.readings import JUDGED, answer, compared_in_size, counted, in_words
from companion.report.reference import (
    REFERENCE,
    compare,
    in_one_line,
    read_reference,
    reference_folder,
)
from companion.report.verdicts import VERDICTS
from companion.runs.parameters import PRESETS

# columns of words that may be empty
WORDS = {"size": str, "levels": str}

# the first picture, and the piece of html that leafs through a run
HERO = ("01_accuracy_curves", "first_curves")
ROUNDS = ("03_subgroup_upsampling", "rounds.html")

# the committed result of photographs themselves, the network fine-tuned as a whole
FINE_TUNED = "real"

GLOSSARY = REPOSITORY / "docs" / "glossary.md"

# ends the first words of a heading
SHORT_END = re.compile(r"[:,]|(?<=\?)")


def write_gallery(
    names: Sequence[str], preset: str, output: Path, reference: str, to_come: Sequence[str] = ()
) -> Path:
    """Write `output`/index.html, claims.csv and data_dictionary.csv; returns the page.

    Args:
        names: notebooks asked for; any others that `output` holds are shown as well.
        reference: name of the committed result to compare with; "" compares with none.
        to_come: those whose runs or figures are not done yet; the page names them.
    """
    entries = _entries(names, output, to_come)
    claims = collect_claims(output, to_come)
    write_whole(output / "claims.csv", claims.to_csv(index=False, float_format="%.6g"))
    write_whole(output / DICTIONARY.name, DICTIONARY.read_text(encoding="utf-8"))
    answers = _answers(claims)
    comparison = compare(claims, read_reference(reference) if reference else pd.DataFrame())
    # said where the photographs themselves are not, by whatever renews the reference of mini
    has_photographs = reference_folder(preset).name == "mini"
    photographs = answer(read_reference(FINE_TUNED), "fine-tuned") if has_photographs else ""
    body = fill(
        "gallery.html",
        entries=entries,
        groups=_groups(entries, comparison),
        preset=preset,
        is_mini=PRESETS[preset] == "mini",
        n_claims=len(claims),
        agreement=in_one_line(comparison, reference) if reference else "",
        is_compared=bool((comparison["compared"] != "").any()),
        glossary=_glossary(),
        **answers,
        hero=_hero(entries) if answers["frozen"] else "",
        rounds=_rounds(output, to_come),
        photographs=photographs,
        photographs_page=os.path.relpath(REFERENCE / FINE_TUNED / "index.html", output),
    )
    index = output / "index.html"
    write_whole(index, page(body, "all figures"))
    link_neighbours(output, {e["name"]: e["short"] for e in entries if e["state"] == "done"})
    return index


def _entries(names: Sequence[str], output: Path, to_come: Sequence[str]) -> list[dict[str, Any]]:
    shown = []
    for name in notebook_names():
        if name in names or name in to_come or (output / name / f"{name}.html").exists():
            shown.append(_entry(name, output / name, name in to_come))
    return shown


def _entry(name: str, folder: Path, is_to_come: bool) -> dict[str, Any]:
    """What the page shows of a notebook."""
    from nbconvert.filters import markdown2html

    state = "failed"
    if is_to_come:
        state = "to come"
    elif (folder / f"{name}.html").exists():
        state = "done"
    return {
        "name": name,
        "number": name[:2],
        "heading": heading(name),
        "short": SHORT_END.split(heading(name))[0],
        "state": state,
        "claim": markdown2html(claim(name)),
        "figures": _figures(name, folder) if state == "done" else {},
        "tables": [file.name for file in sorted(folder.glob("*.csv"))],
    }


def _figures(name: str, folder: Path) -> dict[str, str]:
    """The figures of a notebook, by name, as html."""
    described = captions(name)
    drawn = [stem for stem in described if (folder / f"{stem}.png").exists()]
    pictures = folder.glob("*.png")
    stems = {file.stem for file in pictures if not file.name.endswith(NARROW)}
    figures = {}
    for stem in [*drawn, *sorted(stems - set(drawn))]:
        text = described.get(stem) or stem.replace("_", " ").capitalize()
        figures[stem] = figure(folder / stem, text, f"{name}/")
    return figures


def _hero(entries: list[dict[str, Any]]) -> str:
    """The first picture of the page, taken from its notebook's; "" where there is none yet."""
    of_notebook = [entry["figures"] for entry in entries if entry["name"] == HERO[0]]
    return of_notebook[0].pop(HERO[1], "") if of_notebook else ""


def _rounds(output: Path, to_come: Sequence[str]) -> str:
    """The rounds of one run, as html; "" where there are none yet."""
    name, file = ROUNDS
    is_there = name not in to_come and (output / name / file).exists()
    return (output / name / file).read_text(encoding="utf-8") if is_there else ""


def _answers(claims: pd.DataFrame) -> dict[str, Any]:
    """What the run answers, in sentences with numbers."""
    against = claims[claims["verdict"] == "contradicted"]
    is_judged = claims["verdict"].isin(JUDGED)
    return {
        "frozen": answer(claims, "frozen"),
        "fine_tuned": answer(claims, "fine-tuned"),
        "counted": counted(claims),
        "n_untested": int((~is_judged).sum()),
        "sizes": compared_in_size(claims),
        "contradicted": [in_words(row) for row in against.to_dict("records")],
        "shown_verdicts": [word for word in VERDICTS if (claims["verdict"] == word).any()],
        "is_judged": bool(is_judged.any()),
    }


def _groups(entries: list[dict[str, Any]], comparison: pd.DataFrame) -> list[dict[str, Any]]:
    """The claims table: of each notebook its heading and rows."""
    by_notebook = {name: rows.to_dict("records") for name, rows in comparison.groupby("notebook")}
    return [{**e, "claims": by_notebook[e["name"]]} for e in entries if e["name"] in by_notebook]


def _glossary() -> str:
    from nbconvert.filters import markdown2html

    return markdown2html(GLOSSARY.read_text(encoding="utf-8").partition("\n\n")[2])


def collect_claims(output: Path, to_come: Sequence[str] = ()) -> pd.DataFrame:
    """The claims of all notebooks that a folder of figures holds: claims.COLUMNS and notebook."""
    columns = [*COLUMNS, "notebook"]
    tables = []
    for name in notebook_names():
        file = output / name / "claims.csv"
        is_there = name not in to_come and file.exists()
        table = pd.read_csv(file, dtype=WORDS) if is_there else pd.DataFrame()
        if len(table) and set(COLUMNS) <= set(table) and set(table["verdict"]) <= set(VERDICTS):
            blank = dict.fromkeys(WORDS, "")
            tables.append(table.fillna(blank).assign(notebook=name)[columns])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
