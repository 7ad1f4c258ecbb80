"""TODO: what this room holds."""

import html
import re
from collections.abc import Iterator
from pathlib import Path

from companion.notebook_text import _saved, captions

TEMPLATES = Path(__file__).parent / "templates"

NAVIGATION = (
    "<!-- navigation -->"  # where a notebook's page has its links, known once all pages are there
)


def _html_body(executed: Path) -> str:
    """The notebook as html. Pictures that are saved beside it are not stored in it a second time, and have their captions."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook, described = nbformat.read(executed, as_version=4), captions(executed.stem)
    for cell in notebook.cells:
        pictures = [o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        for name, out in zip(dict.fromkeys(_saved(cell.source)), pictures, strict=False):
            if (executed.parent / f"{name}.png").exists():
                alt = html.escape(plain(described.get(name, name)))
                out.data = {
                    "text/html": f'<a href="{name}.svg"><img src="{name}.png" alt="{alt}" loading="lazy"></a>'
                }
    exporter = HTMLExporter(
        template_name="basic",
        exclude_anchor_links=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_notebook_node(notebook)[0]


def plain(markdown: str) -> str:
    """Markdown without its marks, for alternative texts."""
    return re.sub(r"[*`]|\[([^]]*)\]\([^)]*\)", r"\1", markdown)


def _page(body: str, title: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n<meta name="viewport" content="width=device-width, '
        f'initial-scale=1">\n<title>{html.escape(title)}: active learning helps pretrained models, a companion</title>\n'
        f"<style>{''.join(_styles())}</style></head>\n<body><main>{body}</main></body></html>\n"
    )


def _styles() -> Iterator[str]:
    from pygments.formatters import HtmlFormatter

    yield (TEMPLATES / "style.css").read_text(encoding="utf-8")
    yield HtmlFormatter(style="default").get_style_defs(".highlight")
    yield f"@media (prefers-color-scheme: dark) {{{HtmlFormatter(style='github-dark').get_style_defs('.highlight')}}}"
