"""The page of a run, index.html: whether the claims hold, and every figure with its caption."""

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from companion.notebook_text import captions, claim, heading, notebook_names
from companion.report.claims import COLUMNS
from companion.report.export import DICTIONARY
from companion.report.pages import fill, link_neighbours, page, picture_size, plain
from companion.report.reference import compare, in_one_line, read_reference
from companion.report.verdicts import VERDICTS

# columns of words that may be empty
WORDS = {"size": str, "levels": str}

# ends the first words of a heading
SHORT_END = re.compile(r"[:,]|(?<=\?)")


def write_gallery(names: list[str], preset: str, output: Path, reference: str) -> Path:
    """Write `output`/index.html, claims.csv and data_dictionary.csv; returns the page.

    Args:
        names: notebooks asked for; any others that `output` holds are shown as well.
        reference: name of the committed result to compare with; "" compares with none.
    """
    entries = _entries(names, output)
    claims = collect_claims(output)
    claims.to_csv(output / "claims.csv", index=False, float_format="%.6g")
    shutil.copyfile(DICTIONARY, output / DICTIONARY.name)
    comparison = compare(claims, read_reference(reference) if reference else pd.DataFrame())
    counts = claims["verdict"].value_counts().reindex(list(VERDICTS)).dropna().astype(int)
    body = fill(
        "gallery.html",
        entries=entries,
        groups=_groups(entries, comparison),
        preset=preset,
        counts=counts.to_dict(),
        n_claims=len(claims),
        agreement=in_one_line(comparison, reference) if reference else "",
        is_compared=bool((comparison["compared"] != "").any()),
    )
    index = output / "index.html"
    index.write_text(page(body, "all figures"), encoding="utf-8")
    link_neighbours(output, {e["name"]: e["short"] for e in entries if e["done"]})
    return index


def _entries(names: list[str], output: Path) -> list[dict[str, Any]]:
    shown = []
    for name in notebook_names():
        if name in names or (output / name / f"{name}.html").exists():
            shown.append(_entry(name, output / name))
    return shown


def _groups(entries: list[dict[str, Any]], comparison: pd.DataFrame) -> list[dict[str, Any]]:
    """The claims table: of each notebook its heading and rows."""
    by_notebook = {name: rows.to_dict("records") for name, rows in comparison.groupby("notebook")}
    return [{**e, "claims": by_notebook[e["name"]]} for e in entries if e["name"] in by_notebook]


def collect_claims(output: Path) -> pd.DataFrame:
    """The claims of all notebooks that a folder of figures holds: claims.COLUMNS and notebook."""
    columns = [*COLUMNS, "notebook"]
    tables = []
    for name in notebook_names():
        file = output / name / "claims.csv"
        table = pd.read_csv(file, dtype=WORDS) if file.exists() else pd.DataFrame()
        if len(table) and set(COLUMNS) <= set(table) and set(table["verdict"]) <= set(VERDICTS):
            blank = dict.fromkeys(WORDS, "")
            tables.append(table.fillna(blank).assign(notebook=name)[columns])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _entry(name: str, folder: Path) -> dict[str, Any]:
    """What the page shows of a notebook."""
    from nbconvert.filters import markdown2html

    described = captions(name)
    drawn = [figure for figure in described if (folder / f"{figure}.png").exists()]
    drawn += sorted({file.stem for file in folder.glob("*.png")} - set(drawn))
    figures = []
    for figure in drawn:
        text = described.get(figure) or figure.replace("_", " ").capitalize()
        width, height = picture_size(folder / f"{figure}.png")
        words = {"caption": markdown2html(text), "alt": plain(text)}
        figures.append({"name": figure, "width": width, "height": height, **words})
    return {
        "name": name,
        "number": name[:2],
        "heading": heading(name),
        "short": SHORT_END.split(heading(name))[0],
        "done": (folder / f"{name}.html").exists(),
        "claim": markdown2html(claim(name)),
        "figures": figures,
        "tables": [file.name for file in sorted(folder.glob("*.csv"))],
    }
