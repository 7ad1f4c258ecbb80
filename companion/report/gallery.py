"""TODO: what this room holds."""

import html
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from companion.notebook_text import _first_cell, captions, heading, notebook_names
from companion.report.claims import COLUMNS
from companion.report.export import DICTIONARY
from companion.report.pages import NAVIGATION, TEMPLATES, _page, plain

VERDICTS = {  # a sign beside the colour, and what the word means
    "reproduced": (
        "✓",
        "the whole 95% interval is on the claim's side, or where the claim is no effect, allows for none",
    ),
    "right direction": (
        "↗",
        "the estimate is on the claim's side, but its interval reaches to no effect",
    ),
    "not reproduced": (
        "✗",
        "the estimate is on the other side, or where the claim is no effect, the interval excludes none",
    ),
    "not testable": ("–", "too few seeds for an interval, or not part of this preset"),
}


def gallery(names: list[str], preset: str, output: Path) -> Path:
    """Write `output`/index.html, claims.csv and data_dictionary.csv: the claims table, and every figure with its caption.

    Args:
        names: notebooks asked for; any others that `output` holds are shown as well.
    """
    from jinja2 import Environment

    entries = [
        _entry(n, output / n)
        for n in notebook_names()
        if n in names or (output / n / f"{n}.html").exists()
    ]
    found = [e["name"] for e in entries if "claims.csv" in e["tables"]]
    tables = [pd.read_csv(output / name / "claims.csv").assign(notebook=name) for name in found]
    claims = pd.concat(
        [t for t in tables if len(t)] or [pd.DataFrame(columns=[*COLUMNS, "notebook"])]
    )
    claims.to_csv(output / "claims.csv", index=False, float_format="%.6g")
    shutil.copyfile(DICTIONARY, output / DICTIONARY.name)
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda v: "–" if pd.isna(v) else f"{v:.3f}".replace("-", "−")
    counts = claims["verdict"].value_counts()
    body = environment.from_string((TEMPLATES / "gallery.html").read_text(encoding="utf-8")).render(
        entries=entries,
        claims={n: rows.to_dict("records") for n, rows in claims.groupby("notebook")},
        preset=preset,
        counts={verdict: counts[verdict] for verdict in VERDICTS if verdict in counts},
        verdicts=VERDICTS,
        n_claims=len(claims),
    )
    page = output / "index.html"
    page.write_text(_page(body, "all figures"), encoding="utf-8")
    _link_neighbours([e for e in entries if e["done"]], output)
    return page


def _link_neighbours(entries: list[dict[str, Any]], output: Path) -> None:
    """On each notebook's page: the way back, and to the notebooks before and after it that are here."""
    for before, entry, after in zip([None, *entries], entries, [*entries[1:], None], strict=False):
        links = [
            f'<a href="../{e["name"]}/{e["name"]}.html" rel="{rel}">{html.escape(words.format(e["short"]))}</a>'
            if e
            else "<span></span>"
            for e, rel, words in ((before, "prev", "← {}"), (after, "next", "{} →"))
        ]
        navigation = (
            f'<nav class="around">{links[0]}<a href="../index.html">All figures</a>{links[1]}</nav>'
        )
        page = output / entry["name"] / f"{entry['name']}.html"
        page.write_text(
            re.sub(
                f'{NAVIGATION}|<nav class="around">.*?</nav>',
                lambda _, n=navigation: n,
                page.read_text(encoding="utf-8"),
            ),
            encoding="utf-8",
        )


def _entry(name: str, folder: Path) -> dict[str, Any]:
    from nbconvert.filters import markdown2html

    first, described = _first_cell(name), captions(name)
    claim = next(p for p in first.split("\n\n") if p.startswith("**The claim.**"))
    drawn = [figure for figure in described if (folder / f"{figure}.png").exists()]
    drawn += sorted({p.stem for p in folder.glob("*.png")} - set(drawn))
    texts = {
        figure: described.get(figure) or figure.replace("_", " ").capitalize() for figure in drawn
    }
    figures = [
        {"name": f, "caption": markdown2html(text), "alt": plain(text)} for f, text in texts.items()
    ]
    return {
        "name": name,
        "number": name[:2],
        "heading": heading(name),
        "short": re.match(r"[^:,?]*\??", heading(name))[0],
        "done": (folder / f"{name}.html").exists(),
        "claim": markdown2html(claim.removeprefix("**The claim.**")),
        "figures": figures,
        "tables": [p.name for p in sorted(folder.glob("*.csv"))],
    }
