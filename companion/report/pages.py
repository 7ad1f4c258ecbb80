"""Pages of html that need nothing from elsewhere: their frame, an executed notebook in it."""

import html
import re
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from companion.notebook_text import captions, heading, saved_figures
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
    """An executed notebook as a page, which `link_neighbours` gives its links."""
    body = _notebook_body(executed)
    return page(NAVIGATION + body + NAVIGATION, heading(executed.stem))


def _notebook_body(executed: Path) -> str:
    """Pictures that are saved beside the notebook are not stored twice, and have their captions."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    described = captions(executed.stem)
    for cell in notebook.cells:
        shown = [out for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
        saved = dict.fromkeys(saved_figures(cell.source))
        for name, output in zip(saved, shown, strict=False):
            file = executed.with_name(f"{name}.png")
            if file.exists():
                output.data = {"text/html": _linked_picture(file, described.get(name, name))}
    exporter = HTMLExporter(
        template_name="basic",
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_notebook_node(notebook)[0]


def _linked_picture(file: Path, caption: str) -> str:
    width, height = picture_size(file)
    size = f'width="{width}" height="{height}"'
    picture = f'<img src="{file.name}" alt="{html.escape(plain(caption))}" {size} loading="lazy">'
    return f'<a href="{file.stem}.svg">{picture}</a>'


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
        file.write_text(navigation.join(parts), encoding="utf-8")


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
