"""Pages of html that need nothing from elsewhere: their frame, an executed notebook in it."""

import html
import re
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from alpt_lib.files import write_whole
from companion.notebook_text import CAPTION, NARROW, captions, heading, saved_figures
from companion.report.verdicts import VERDICTS, verdict_in_words

TEMPLATES = Path(__file__).parent / "templates"

# where a notebook's page has its links, known once all pages are there
NAVIGATION = "<!-- navigation -->"

FRAME = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: active learning helps pretrained models, a companion</title>
<style>{style}</style></head>
<body><main>{body}</main></body></html>
"""

MARKS = re.compile(r"[*`]|\[([^]]*)\]\([^)]*\)")


def page(body: str, title: str) -> str:
    """A whole page; `body` is html, `title` text."""
    return FRAME.format(title=html.escape(title), style=_style(), body=body)


def notebook_page(executed: Path) -> str:
    """An executed notebook as a page, which `link_neighbours` gives its links.

    Its figures are the files beside it, with their captions below; their code is folded.
    """
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    described = captions(executed.stem)
    folded = {}
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            cell.source = _without_captions(cell.source)
        elif saved := saved_figures(cell.source):
            folded[i] = "the code of this figure"
            _show_files(cell, {name: described.get(name, name) for name in saved}, executed.parent)
        elif any("parameters" in tag for tag in cell.metadata.get("tags", [])):
            folded[i] = "the parameters"
    body = _folded(_as_html(notebook), folded)
    return page(NAVIGATION + body + NAVIGATION, heading(executed.stem))


def _without_captions(markdown: str) -> str:
    parts = [part for part in markdown.split("\n\n") if not part.startswith(CAPTION)]
    return "\n\n".join(parts)


def _show_files(cell: Any, described: dict[str, str], folder: Path) -> None:
    """In place of the pictures that a cell shows, the files that it saved."""
    shown = [out for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    for (name, caption), output in zip(described.items(), shown, strict=False):
        if (folder / f"{name}.png").exists():
            output.data = {"text/html": figure(folder / name, caption)}


def _as_html(notebook: Any) -> str:
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic",
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_notebook_node(notebook)[0]


def _folded(body: str, summaries: dict[int, str]) -> str:
    """The code of these cells folds up below what they show; tables can become cards."""
    from bs4 import BeautifulSoup

    soup = BeautifulSoup(body, "html.parser")
    cells = soup.select("div.cell")
    for i, words in summaries.items():
        details = soup.new_tag("details", attrs={"class": "code"})
        summary = soup.new_tag("summary")
        summary.string = words
        code = cells[i].select_one("div.input")
        details.extend([summary, code.extract()] if code else [summary])
        cells[i].append(details)
    for table in soup.select("table"):
        _name_cells(table)
    return str(soup)


def _name_cells(table: Any) -> None:
    headings = [cell.get_text().strip() for cell in table.select("thead tr:last-of-type th")]
    table["class"] = list(dict.fromkeys([*table.get("class", []), "cards"]))
    for row in table.select("tbody tr"):
        cells = row.find_all(["th", "td"], recursive=False)
        if len(cells) == len(headings):
            for cell, words in zip(cells, headings, strict=True):
                cell["data-is"] = words


def figure(file: Path, caption: str, folder: str = "") -> str:
    """A figure with its caption, as html; a phone takes its narrow variant.

    Args:
        file: without ending. caption: markdown. folder: where the page finds it, such as "01/".
    """
    from nbconvert.filters import markdown2html

    variants = {}
    for screen, ending in (("wide", ".png"), ("narrow", NARROW)):
        picture = file.with_name(file.name + ending)
        if picture.exists():
            variants[screen] = {"name": picture.name, "size": picture_size(picture)}
    return fill(
        "figure.html",
        folder=folder,
        name=file.name,
        variants=variants,
        alt=plain(caption),
        caption=markdown2html(caption),
    )


def picture_size(file: Path) -> tuple[int, int]:
    """(width, height) in px: a page that knows them does not move while pictures load."""
    with Image.open(file) as picture:
        return picture.size


def plain(markdown: str) -> str:
    """Markdown without its marks, for alternative texts."""
    return MARKS.sub(r"\1", markdown)


def link_neighbours(folder: Path, shorts: dict[str, str]) -> None:
    """On each notebook's page: the way back, and to the notebooks before and after it.

    Args:
        folder: holds a folder a notebook.
        shorts: notebook -> a few words for it, in order.
    """
    names = list(shorts)
    for i, name in enumerate(names):
        links = ["<span></span>", '<a href="../index.html">All figures</a>', "<span></span>"]
        if i > 0:
            before = names[i - 1]
            links[0] = _neighbour(before, "prev", f"← {shorts[before]}")
        if i + 1 < len(names):
            after = names[i + 1]
            links[2] = _neighbour(after, "next", f"{shorts[after]} →")
        navigation = f'<nav class="around">{"".join(links)}</nav>'
        file = folder / name / f"{name}.html"
        text = file.read_text(encoding="utf-8")
        parts = re.split(f'{NAVIGATION}|<nav class="around">.*?</nav>', text)
        write_whole(file, navigation.join(parts))


def _neighbour(name: str, relation: str, words: str) -> str:
    return f'<a href="../{name}/{name}.html" rel="{relation}">{html.escape(words)}</a>'


def fill(template: str, **values: Any) -> str:
    """A template of jinja, with whatever is filled in escaped."""
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    environment.filters["verdict"] = lambda row: verdict_in_words(
        row["verdict"], row["seeds_needed"]
    )
    return environment.get_template(template).render(**values, verdicts=VERDICTS)


def claims_table(rows: list[dict[str, Any]]) -> str:
    """Rows of the claims table as html, without headings or a reference."""
    return fill("claims.html", groups=[{"claims": rows}], is_compared=False)


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3f}".replace("-", "−")


def _style() -> str:
    from pygments.formatters import HtmlFormatter

    house = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"{house}{light}@media (prefers-color-scheme: dark) {{{dark}}}"
