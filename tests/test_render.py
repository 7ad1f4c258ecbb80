import base64
import io
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from alpt_lib.errors import ConfigError
from companion import notebook_text
from companion.report import gallery, render, shrink

FAILS = """
raise ValueError("first line\\nthe line that says it")
"""


def notebook(*cells: tuple[str, str, list[str]]) -> str:
    return json.dumps(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
            "cells": [
                {
                    "cell_type": kind,
                    "id": f"cell{i}",
                    "metadata": {"tags": tags},
                    "source": source,
                    **({"outputs": [], "execution_count": None} if kind == "code" else {}),
                }
                for i, (kind, source, tags) in enumerate(cells)
            ],
        }
    )


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder with two notebooks, of which 02 fails, in place of the real ones."""
    parameters = (
        "code",
        'preset = "mini"\nseeds = [1]\nworkers = 0\noutput = "figures/custom"',
        ["parameters"],
    )
    claim = ("markdown", "# A heading\n\n**The claim.** Asking *helps* <here>.\n\nMore.", [])
    (tmp_path / "01_works.ipynb").write_text(
        notebook(claim, parameters, ("code", "print(seeds, output)", []))
    )
    (tmp_path / "02_fails.ipynb").write_text(notebook(claim, parameters, ("code", FAILS, [])))
    (tmp_path / "presets" / "smoke").mkdir(parents=True)
    (tmp_path / "presets" / "smoke.yaml").write_text("preset: smoke\nseeds: [7]\n")
    (tmp_path / "presets" / "smoke" / "02_fails.yaml").write_text("seeds: [8]\n")
    monkeypatch.setattr(render, "NOTEBOOKS", tmp_path)
    return tmp_path


def test_numbers_and_names_select_notebooks(notebooks):
    assert notebook_text.select(None) == ["01_works", "02_fails"]
    assert notebook_text.select("02_fails, 01") == ["01_works", "02_fails"]


@pytest.mark.parametrize("only", ["03", "1", "works", ",", ""])
def test_an_unknown_notebook_is_refused_with_all_that_there_are(notebooks, only):
    with pytest.raises(ConfigError, match=r"01_works, 02_fails"):
        notebook_text.select(only)


def test_a_preset_changes_all_notebooks_and_its_file_for_one_notebook_that_one(notebooks):
    assert notebook_text.overrides(["01_works", "02_fails"], "smoke", {}) == {
        "01_works": {"preset": "smoke", "seeds": [7]},
        "02_fails": {"preset": "smoke", "seeds": [8]},
    }


def test_a_change_replaces_a_list_and_adds_to_a_mapping(notebooks):
    (notebooks / "presets" / "smoke.yaml").write_text(
        "preset: smoke\nprotocol: {budget: 20, query_batch_size: 10}\n"
    )
    parameters = ("code", 'preset = "mini"\nprotocol = {}\nseeds = [1]', ["parameters"])
    (notebooks / "03_more.ipynb").write_text(notebook(parameters))
    given = notebook_text.overrides(
        ["01_works", "03_more"], "smoke", {"protocol": {"budget": 30}, "seeds": [9]}
    )
    assert given["03_more"] == {
        "preset": "smoke",
        "protocol": {"budget": 30, "query_batch_size": 10},
        "seeds": [9],
    }
    assert given["01_works"]["seeds"] == [9]


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [("tiny", {}, "smoke, mini, paper"), ("smoke", {"sedes": [1]}, "did you mean 'seeds'")],
)
def test_an_unknown_preset_or_parameter_is_refused(notebooks, preset, changes, said):
    with pytest.raises(ConfigError, match=said):
        notebook_text.overrides(["01_works"], preset, changes)


def test_a_failing_notebook_is_one_line_and_the_others_are_rendered(notebooks, home):
    output = home / "figures" / "smoke"
    (output / "02_fails").mkdir(parents=True)
    (output / "02_fails" / "old.png").touch()
    failures = render.render({"01_works": {"seeds": [7]}, "02_fails": {}}, output, workers=2)
    assert failures == ["02_fails: ValueError: the line that says it"]
    assert "[7] figures/smoke" in (output / "01_works" / "01_works.html").read_text()
    assert not (output / "02_fails" / "02_fails.html").exists()
    assert not (output / "02_fails" / "old.png").exists()
    executed = (output / "01_works" / "01_works.ipynb").read_text()
    assert "papermill" not in executed
    page = gallery.gallery(["01_works", "02_fails"], "smoke", output).read_text()
    assert page.count("did not finish") == 1


def test_a_notebook_that_a_full_disk_cut_off_is_one_line(tmp_path):
    (tmp_path / "cut.ipynb").write_text('{"cells": [{"outp')
    assert (
        render._what_went_wrong(tmp_path / "cut.ipynb", "x\nNo space left on device")
        == "No space left on device"
    )


def test_the_gallery_shows_claims_figures_and_links_and_needs_nothing_from_elsewhere(
    notebooks, home
):
    folder = home / "figures" / "smoke" / "01_works"
    folder.mkdir(parents=True)
    (folder / "01_works.html").write_text("<html></html>")
    plt.figure().savefig(folder / "two_words.png")
    (folder / "claims.csv").write_text(
        "claim,source,paper,ours,ci_low,ci_high,n_seeds,verdict\n"
        "Birds < trees,Fig. 1,0.11,0.123456,0.1,,5,right direction\n"
    )
    page = gallery.gallery(["01_works"], "smoke", home / "figures" / "smoke").read_text()
    for piece in (
        "Birds &lt; trees",
        "0.123",
        "0.100 to –",
        "right direction",
        "Asking <em>helps</em>",
        'src="01_works/two_words.png"',
        'href="01_works/01_works.html"',
        "prefers-color-scheme: dark",
        "width=device-width",
    ):
        assert piece in page
    assert "http" not in page
    assert "<script" not in page
    assert "Birds < trees" in (home / "figures" / "smoke" / "claims.csv").read_text()


def test_of_a_widget_its_still_picture_is_kept_and_a_progress_bar_goes(tmp_path):
    widget = {
        "application/vnd.jupyter.widget-view+json": {"model_id": "1"},
        "text/plain": "a widget",
    }
    cell = {
        "cell_type": "code",
        "id": "1",
        "metadata": {},
        "source": "",
        "execution_count": 1,
        "outputs": [
            {
                "output_type": "display_data",
                "metadata": {},
                "data": {**widget, "text/html": "<table></table>"},
            },
            {"output_type": "display_data", "metadata": {}, "data": widget},
        ],
    }
    file = tmp_path / "done.ipynb"
    file.write_text(
        json.dumps(
            {"nbformat": 4, "nbformat_minor": 5, "metadata": {"widgets": {}}, "cells": [cell]}
        )
    )
    render._clean(file)
    (output,) = json.loads(file.read_text())["cells"][0]["outputs"]
    assert output["data"] == {"text/html": ["<table></table>"], "text/plain": ["a widget"]}


SHOWS = """
import pandas as pd
from IPython.display import display
display(pd.DataFrame({"a": [1]}).style.hide(axis="index"), pd.DataFrame({"a": [2]}).style, object())
"""


def test_the_same_notebook_rendered_twice_gives_the_same_files_tables_included(notebooks, home):
    shown = json.loads((notebooks / "01_works.ipynb").read_text())
    shown["cells"][2]["source"] = SHOWS
    (notebooks / "01_works.ipynb").write_text(json.dumps(shown))
    folder, found = home / "figures" / "custom", []
    for _ in range(2):
        assert render.render({"01_works": {"seeds": [5]}}, folder, 1) == []
        found.append(
            [(folder / "01_works" / f"01_works.{kind}").read_text() for kind in ("ipynb", "html")]
        )
    assert found[0] == found[1]
    assert re.search(r"T_\d+_0_row0_col0", found[0][0])
    assert re.search(r"T_\d+_1_row0_col0", found[0][0])


DRAWS = """
import matplotlib.pyplot as plt
from pathlib import Path
figure, ax = plt.subplots(num="drawn", figsize=(2, 2))
Path("{folder}").mkdir(parents=True, exist_ok=True)
class study:
    def save(figure, name):
        for suffix in ("png", "svg"):
            figure.savefig(f"{folder}/{{name}}.{{suffix}}")
study.save(figure, "two_words")
"""


@pytest.fixture
def drawn(notebooks, home):
    """Two notebooks that draw and caption a figure, rendered, with the page of all figures."""
    folder = home / "figures" / "smoke"
    for name in ("01_works", "02_fails"):
        claim = (
            "markdown",
            "# Heading: more\n\n**The claim.** It holds (paper, section 5.1,\nFig. 2).\n\nMore.",
            [],
        )
        parameters = (
            "code",
            'preset = "mini"\nseeds = [1]\nworkers = 0\noutput = "figures/custom"',
            ["parameters"],
        )
        caption = (
            "markdown",
            'Prose.\n\n**Figure.** What *every* seed\ngives, "5 < 6".\n\nMore prose.',
            [],
        )
        draws = ("code", DRAWS.format(folder=folder / name), [])
        (notebooks / f"{name}.ipynb").write_text(notebook(claim, parameters, caption, draws))
    assert render.render({"01_works": {}, "02_fails": {}}, folder, workers=1) == []
    gallery.gallery(["01_works", "02_fails"], "smoke", folder)
    return folder


def test_a_caption_is_the_paragraph_before_the_figure_and_goes_wherever_the_figure_goes(drawn):
    assert notebook_text.captions("01_works") == {"two_words": 'What *every* seed gives, "5 < 6".'}
    assert notebook_text.paper_source("01_works") == "section 5.1, Fig. 2"
    page, reader = (
        (drawn / "index.html").read_text(),
        (drawn / "01_works" / "01_works.html").read_text(),
    )
    assert "What <em>every</em> seed gives" in page
    for text in (page, reader):
        assert BeautifulSoup(text, "html.parser").img["alt"] == 'What every seed gives, "5 < 6".'


def test_a_figure_is_stored_once_and_the_page_of_its_notebook_shows_that_file(drawn):
    reader = (drawn / "01_works" / "01_works.html").read_text()
    assert [image["src"] for image in BeautifulSoup(reader, "html.parser").find_all("img")] == [
        "two_words.png"
    ]
    assert "data:image/png" not in reader
    with Image.open(drawn / "01_works" / "two_words.png") as image:
        assert image.mode == "P"


def test_pages_lead_to_their_neighbours_however_often_they_are_linked(drawn):
    gallery.gallery(["01_works"], "smoke", drawn)
    first, second = ((drawn / n / f"{n}.html").read_text() for n in ("01_works", "02_fails"))
    for text, link in (
        (first, '../02_fails/02_fails.html" rel="next"'),
        (second, '../01_works/01_works.html" rel="prev"'),
    ):
        assert text.count(link) == text.count('href="../index.html"') == 2  # above and below
    assert (drawn / "data_dictionary.csv").exists()


def test_every_verdict_has_a_sign_and_a_word_beside_its_colour(notebooks, home):
    folder = home / "figures" / "smoke" / "01_works"
    folder.mkdir(parents=True)
    (folder / "claims.csv").write_text(
        "claim,source,paper,ours,ci_low,ci_high,n_seeds,verdict\n"
        + "".join(f"c,s,,-0.5,-1,1,5,{verdict}\n" for verdict in gallery.VERDICTS)
    )
    page = gallery.gallery(["01_works"], "smoke", home / "figures" / "smoke").read_text()
    for verdict, (sign, _) in gallery.VERDICTS.items():
        assert re.search(f'<td class="v {verdict}">{sign} {verdict}</td>', page)
    assert "−0.500" in page


def noise(size: int) -> bytes:
    target = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(target, "png", pnginfo=None)
    return target.getvalue()


def test_pictures_keep_size_and_flat_colours_in_fewer_bytes():
    figure, ax = plt.subplots()
    ax.bar([0], [1], color="#d55e00")
    before = io.BytesIO()
    figure.savefig(before, format="png")
    plt.close(figure)
    after = shrink.shrink_png(before.getvalue())
    one, other = (
        np.asarray(Image.open(io.BytesIO(c)).convert("RGB")).astype(int)
        for c in (before.getvalue(), after)
    )
    assert len(after) < len(before.getvalue())
    assert np.abs(one - other).max() <= 40
    assert (other == [0xD5, 0x5E, 0x00]).all(axis=2).sum() == (one == [0xD5, 0x5E, 0x00]).all(
        axis=2
    ).sum()
    assert shrink.shrink_png(after) == after


def test_svg_keeps_its_text_and_its_pictures_take_fewer_bytes():
    encoded = base64.b64encode(noise(64)).decode()
    svg = f'<svg><text>round 1</text><image xlink:href="data:image/png;base64,{encoded}"/></svg>'
    small = shrink.shrink_svg(svg)
    assert "<text>round 1</text>" in small
    assert len(small) < 0.7 * len(svg)


def test_widgets_leave_the_picture_beside_them_and_nothing_else(tmp_path):
    view = {render.WIDGET: {"model_id": "1"}, "text/plain": "a bar"}
    outputs = [
        {"output_type": "display_data", "metadata": {}, "data": data}
        for data in (view, {**view, "image/png": base64.b64encode(noise(8)).decode()})
    ]
    file = tmp_path / "a.ipynb"
    file.write_text(
        json.dumps({"metadata": {"widgets": {}}, "cells": [{"metadata": {}, "outputs": outputs}]})
    )
    render._clean(file)
    (kept,) = json.loads(file.read_text())["cells"][0]["outputs"]
    assert set(kept["data"]) == {"image/png", "text/plain"}
