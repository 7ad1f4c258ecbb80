"""Notebooks as files and pages: what they say of themselves, how they are executed and shown."""

import base64
import errno
import io
import json
import re
import shutil
from unittest.mock import Mock

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from alpt_lib.errors import ConfigError
from companion import notebook_text
from companion.cli import main
from companion.report import draw, reference, render, shrink
from companion.report.claims import HEADLINES
from companion.report.gallery import write_gallery
from companion.report.verdicts import VERDICTS, verdict_in_words

FAILS = """
raise ValueError("first line\\nthe line that says it")
"""
CLAIM = ("markdown", "# A heading\n\n**The claim.** Asking *helps* <here>.\n\nMore.", [])
PARAMETERS = (
    "code",
    'preset = "mini"\nseeds = [1]\nworkers = 0\noutput = "figures/custom"\nprotocol = {}',
    ["parameters"],
)


def notebook(*cells: tuple[str, str, list[str]]) -> str:
    contents = []
    for i, (kind, source, tags) in enumerate(cells):
        cell = {"cell_type": kind, "id": f"cell{i}", "metadata": {"tags": tags}, "source": source}
        contents.append(cell)
        if kind == "code":
            cell |= {"outputs": [], "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    metadata = {"kernelspec": kernel}
    content = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": contents}
    return json.dumps(content)


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A folder with two notebooks, of which 02 fails, in place of the real ones."""
    works = notebook(CLAIM, PARAMETERS, ("code", "print(seeds, output)", []))
    (tmp_path / "01_works.ipynb").write_text(works)
    (tmp_path / "02_fails.ipynb").write_text(notebook(CLAIM, PARAMETERS, ("code", FAILS, [])))
    (tmp_path / "presets" / "smoke").mkdir(parents=True)
    (tmp_path / "presets" / "smoke.yaml").write_text("preset: smoke\nseeds: [7]\n")
    (tmp_path / "presets" / "smoke" / "02_fails.yaml").write_text("seeds: [8]\n")
    monkeypatch.setattr(notebook_text, "NOTEBOOKS", tmp_path)
    return tmp_path


def test_numbers_and_names_select_notebooks(notebooks):
    assert notebook_text.select(None) == ["01_works", "02_fails"]
    assert notebook_text.select("02_fails, 01") == ["01_works", "02_fails"]


@pytest.mark.parametrize("only", ["03", "1", "works", ",", ""])
def test_an_unknown_notebook_is_refused_with_all_that_there_are(notebooks, only):
    with pytest.raises(ConfigError, match=r"01_works, 02_fails"):
        notebook_text.select(only)


def test_a_preset_changes_all_notebooks_its_file_for_one_that_one_a_change_adds_to_a_mapping(
    notebooks,
):
    names = ["01_works", "02_fails"]
    assert notebook_text.overrides(names, "smoke", {}) == {
        "01_works": {"preset": "smoke", "seeds": [7]},
        "02_fails": {"preset": "smoke", "seeds": [8]},
    }
    preset = "preset: smoke\nprotocol: {budget: 20, query_batch_size: 10}\n"
    (notebooks / "presets" / "smoke.yaml").write_text(preset)
    given = notebook_text.overrides(names, "smoke", {"protocol": {"budget": 30}, "seeds": [9]})
    changed = {"protocol": {"budget": 30, "query_batch_size": 10}, "seeds": [9]}
    assert given["01_works"] == {"preset": "smoke", **changed}


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [
        ("tiny", {}, "smoke, mini, thorough, real, paper"),
        ("smoke", {"sedes": [1]}, "did you mean 'seeds'"),
    ],
)
def test_an_unknown_preset_or_parameter_is_refused(notebooks, preset, changes, said):
    with pytest.raises(ConfigError, match=said):
        notebook_text.overrides(["01_works"], preset, changes)


def test_a_failing_notebook_is_one_line_and_the_others_are_rendered(notebooks, home):
    output = home / "figures" / "smoke"
    (output / "02_fails").mkdir(parents=True)
    (output / "02_fails" / "old.png").touch()
    faults = render.render({"01_works": {"seeds": [7]}, "02_fails": {}}, output, workers=2)
    assert faults == {"02_fails": "ValueError: the line that says it"}
    assert "[7] figures/smoke" in (output / "01_works" / "01_works.html").read_text()
    assert not (output / "02_fails" / "02_fails.html").exists()
    assert not (output / "02_fails" / "old.png").exists()
    assert "papermill" not in (output / "01_works" / "01_works.ipynb").read_text()
    page = write_gallery(["01_works", "02_fails"], "smoke", output, "").read_text()
    assert page.count("did not finish") == 1


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("x\nNo space left on device", "No space left on device"),
        ('\nException at "In [3]":\n\n', 'Exception at "In [3]": the kernel gave no reason; is th'),
    ],
)
def test_a_notebook_that_a_full_disk_cut_off_is_one_line(tmp_path, raised, said):
    (tmp_path / "cut.ipynb").write_text('{"cells": [{"outp')
    assert render.what_went_wrong(tmp_path / "cut.ipynb", raised).startswith(said)


def test_what_fails_after_papermill_names_its_notebook_and_the_others_are_rendered(notebooks, home):
    output = home / "figures" / "smoke"
    # where its page should be, there is a folder that cannot be taken away
    (output / "02_fails").mkdir(parents=True)
    (output / "02_fails" / "folder").mkdir()
    faults = render.render({"01_works": {}, "02_fails": {}}, output, workers=1)
    assert list(faults) == ["02_fails"]
    assert re.match(r"(IsADirectory|Permission)Error: .*02_fails/folder", faults["02_fails"])
    assert (output / "01_works" / "01_works.html").exists()


def test_a_folder_that_may_only_be_read_shows_what_is_drawn(notebooks, home, monkeypatch):
    output = home / "figures" / "smoke"
    drawn = {"01_works": draw.Notebook({"seeds": [7]}, [])}
    page, faults = draw.draw(drawn, "smoke", output, 1, are_done=True)
    assert not faults
    monkeypatch.setattr(draw.os, "access", lambda path, mode: False)
    monkeypatch.setattr(draw, "locked", Mock(side_effect=OSError(errno.EROFS, "read-only")))
    assert draw.draw(drawn, "smoke", output, 1, are_done=True) == (page, {})
    drawn["01_works"].given["seeds"] = [8]
    with pytest.raises(OSError, match="read-only"):
        draw.draw(drawn, "smoke", output, 1, are_done=True)


def write_claims(folder, *rows: tuple) -> None:
    folder.mkdir(parents=True)
    columns = ["claim", "source", "paper", "ours", "ci_low", "ci_high", "n_seeds", "verdict"]
    table = pd.DataFrame(rows, columns=columns)
    table = table.assign(claimed="above 0", size="smaller", seeds_needed=9, levels="")
    table.to_csv(folder / "claims.csv", index=False)


def test_the_gallery_shows_claims_figures_and_links_and_needs_nothing_from_elsewhere(
    notebooks, home
):
    output = home / "figures" / "smoke"
    folder = output / "01_works"
    ours = ("Birds < trees", "Fig. 1", 0.11, 0.123456, 0.1, None, 5, "undecided")
    write_claims(folder, ours)
    (folder / "01_works.html").write_text("<html></html>")
    plt.figure(figsize=(3, 2)).savefig(folder / "two_words.png", dpi=100)
    page = write_gallery(["01_works"], "smoke", output, "").read_text()
    for piece in (
        "Birds &lt; trees",
        "0.123",
        "0.100 to –",
        "undecided (~9 seeds)",
        "0.110 <small>(ours smaller)</small>",
        "Asking <em>helps</em>",
        'src="01_works/two_words.png"',
        'width="300" height="200"',
        'href="01_works/01_works.html"',
        "prefers-color-scheme: dark",
        "width=device-width",
    ):
        assert piece in page
    assert_that_it_loads_nothing(page)
    assert "Birds < trees" in (output / "claims.csv").read_text()


def assert_that_it_loads_nothing(page: str) -> None:
    """Links may lead elsewhere; pictures, styles and scripts are all there."""
    soup = BeautifulSoup(page, "html.parser")
    assert not soup.select("link, iframe, script[src]")
    assert all("://" not in element["src"] for element in soup.select("[src]"))
    assert "@import" not in page
    assert "url(http" not in page


ROUNDS = '<div class="rounds"><script>1</script></div>'


def test_the_page_begins_with_the_answer_and_a_picture_of_real_photographs(
    notebooks, home, monkeypatch, tmp_path
):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    fine_tuned, *_ = HEADLINES["fine-tuned"]
    committed = (fine_tuned, "s", 0.25, -0.02, -0.11, 0.07, 8, "undecided")
    write_claims(tmp_path / "reference" / "real", committed)
    (notebooks / "01_works.ipynb").rename(notebooks / "01_accuracy_curves.ipynb")
    (notebooks / "02_fails.ipynb").rename(notebooks / "03_subgroup_upsampling.ipynb")
    output = home / "figures" / "mini"
    names = ["01_accuracy_curves", "03_subgroup_upsampling"]
    headline, *_ = HEADLINES["frozen"]
    write_claims(output / names[0], (headline, "s", 0.25, 0.11, 0.1, 0.12, 16, "supported"))
    for name in names:
        (output / name).mkdir(exist_ok=True)
        (output / name / f"{name}.html").write_text("<html></html>")
    (output / names[1] / "rounds.html").write_text(ROUNDS)
    for picture in ("first_curves", "other"):
        plt.figure(figsize=(3, 2)).savefig(output / names[0] / f"{picture}.png")
    page = write_gallery(names, "mini", output, "").read_text()
    soup = BeautifulSoup(page, "html.parser")
    answer = soup.select_one("#real .answer").get_text()
    assert "+0.110 (+0.100 to +0.120)" in answer
    assert "16 seeds" in answer
    fine_tuned = soup.select("#real .answer")[1]
    assert "−0.020 (−0.110 to +0.070)" in fine_tuned.get_text()
    assert "(8 seeds)" in fine_tuned.get_text()
    assert fine_tuned.a["href"].endswith("figures/reference/real/index.html")
    sources = [image["src"].split("/")[-1] for image in soup.select("figure img")]
    assert sources == ["first_curves.png", "other.png"]
    assert ROUNDS in page
    order = [page.index(f'id="{part}"') for part in ("real", "rounds", "holds", "claims")]
    assert order == sorted(order)
    assert soup.select_one("#claims details")
    assert_that_it_loads_nothing(page)


def test_what_is_still_to_come_is_named_and_an_older_one_is_not_shown(notebooks, home):
    output = home / "figures" / "mini"
    write_claims(output / "02_fails", ("old", "s", None, 0.1, 0.1, 0.1, 5, "supported"))
    for name in ("01_works", "02_fails"):
        (output / name).mkdir(exist_ok=True)
        (output / name / f"{name}.html").write_text("<html></html>")
    names = ["01_works", "02_fails"]
    page = write_gallery(names, "mini", output, "", to_come=["02_fails"]).read_text()
    assert "still at work" in page
    assert "To come: 02 A heading" in page
    assert 'href="02_fails/02_fails.html"' not in page
    assert pd.read_csv(output / "claims.csv").empty
    page = write_gallery(names, "mini", output, "").read_text()
    assert "still at work" not in page
    assert 'href="02_fails/02_fails.html"' in page


def test_the_page_shows_every_verdict_with_its_sign_and_what_the_reference_says(
    notebooks, home, monkeypatch, tmp_path
):
    monkeypatch.setattr(reference, "REFERENCE", tmp_path / "reference")
    output = home / "figures" / "mini"
    rows = [(f"c{i}", "s", None, -0.5, -1, 1, 5, verdict) for i, verdict in enumerate(VERDICTS)]
    write_claims(output / "01_works", *rows)
    page = write_gallery(["01_works"], "mini", output, "mini").read_text()
    for verdict, shown in VERDICTS.items():
        words = verdict_in_words(verdict, 9.0)
        assert f'<td class="v {verdict}">{shown.sign} {words}</td>' in page
    assert "−0.500" in page
    assert "1 of 3 claims are supported, 1 contradicted, 1 undecided. The other 2 cannot be" in page
    assert "no reference to compare with" in page
    theirs = pd.read_csv(output / "claims.csv").assign(ours=2.5, ci_low=2.0, ci_high=3.0)
    theirs.loc[0, "ci_low"] = 0.5
    (tmp_path / "reference" / "mini").mkdir(parents=True)
    theirs.to_csv(tmp_path / "reference" / "mini" / "claims.csv", index=False)
    page = write_gallery(["01_works"], "mini", output, "mini").read_text()
    assert f"1 of {len(VERDICTS)} agree with the reference" in page
    assert "2.500, 0.500 to 3.000: agrees" in page
    assert page.count(": differs") == len(VERDICTS) - 1


def noise(size: int) -> bytes:
    target = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(target, "png", pnginfo=None)
    return target.getvalue()


def test_of_a_widget_its_still_picture_is_kept_and_a_progress_bar_goes(tmp_path):
    view = {render.WIDGET: {"model_id": "1"}, "text/plain": "a bar"}
    picture = {"image/png": base64.b64encode(noise(8)).decode()}
    shown = [view, {**view, **picture}, {**view, "text/html": "<table></table>"}]
    outputs = [{"output_type": "display_data", "metadata": {}, "data": data} for data in shown]
    file = tmp_path / "a.ipynb"
    cells = [{"metadata": {}, "outputs": outputs}]
    file.write_text(json.dumps({"metadata": {"widgets": {}}, "cells": cells}))
    render.clean_notebook(file)
    still, table = json.loads(file.read_text())["cells"][0]["outputs"]
    assert set(still["data"]) == {"image/png", "text/plain"}
    assert table["data"] == {"text/html": ["<table></table>"], "text/plain": ["a bar"]}


SHOWS = """
import pandas as pd
from IPython.display import display
display(pd.DataFrame({"a": [1]}).style.hide(axis="index"), pd.DataFrame({"a": [2]}).style, object())
"""


def test_the_same_notebook_rendered_twice_gives_the_same_files_tables_included(notebooks, home):
    shows = notebook(CLAIM, PARAMETERS, ("code", SHOWS, []))
    (notebooks / "01_works.ipynb").write_text(shows)
    folder = home / "figures" / "custom"
    twice = []
    for _ in range(2):
        assert render.render({"01_works": {"seeds": [5]}}, folder, 1) == {}
        files = (folder / "01_works" / f"01_works.{kind}" for kind in ("ipynb", "html"))
        twice.append([file.read_text() for file in files])
    assert twice[0] == twice[1]
    assert re.search(r"T_\d+_0_row0_col0", twice[0][0])
    assert re.search(r"T_\d+_1_row0_col0", twice[0][0])
    cell = BeautifulSoup(twice[0][1], "html.parser").select_one("table.cards td")
    assert (cell["data-is"], cell.get_text()) == ("a", "1")


DRAWS = """
import matplotlib.pyplot as plt
from pathlib import Path
figure, ax = plt.subplots(num="drawn", figsize=(2, 2))
Path("{folder}").mkdir(parents=True, exist_ok=True)
class study:
    def save(figure, name):
        for suffix in ("png", "svg", "narrow.png"):
            figure.savefig(f"{folder}/{{name}}.{{suffix}}")
study.save(figure, "two_words")
"""


@pytest.fixture
def drawn(notebooks, home):
    """Two notebooks that draw and caption a figure, rendered, with the page of all figures."""
    folder = home / "figures" / "smoke"
    words = "# Heading: more\n\n**The claim.** It holds (paper, section 5.1,\nFig. 2).\n\nMore."
    caption = 'Prose.\n\n**Figure.** What *every* seed\ngives, "5 < 6".\n\nMore prose.'
    for name in ("01_works", "02_fails"):
        draws = DRAWS.format(folder=folder / name)
        cells = [("markdown", words, []), PARAMETERS, ("markdown", caption, [])]
        (notebooks / f"{name}.ipynb").write_text(notebook(*cells, ("code", draws, [])))
    assert render.render({"01_works": {}, "02_fails": {}}, folder, workers=1) == {}
    write_gallery(["01_works", "02_fails"], "smoke", folder, "")
    return folder


def test_a_figure_is_stored_once_and_its_caption_goes_wherever_it_goes(drawn):
    assert notebook_text.captions("01_works") == {"two_words": 'What *every* seed gives, "5 < 6".'}
    assert notebook_text.paper_source("01_works") == "section 5.1, Fig. 2"
    page = (drawn / "index.html").read_text()
    reader = (drawn / "01_works" / "01_works.html").read_text()
    for text, n_times in ((page, 2), (reader, 1)):
        assert text.count("What <em>every</em> seed gives") == n_times
        assert "**Figure.**" not in text
        caption = BeautifulSoup(text, "html.parser").select_one("figure figcaption")
        assert caption.get_text().strip() == 'What every seed gives, "5 < 6".'
        assert BeautifulSoup(text, "html.parser").img["alt"] == 'What every seed gives, "5 < 6".'
    images = BeautifulSoup(reader, "html.parser").find_all("img")
    assert [image["src"] for image in images] == ["two_words.png"]
    (source,) = BeautifulSoup(reader, "html.parser").find_all("source")
    assert source["srcset"] == "two_words.narrow.png"
    folded = BeautifulSoup(reader, "html.parser").select("details.code")
    assert folded[0].summary.get_text() == "the parameters"
    assert "two_words" in folded[-1].get_text()
    assert "data:image/png" not in reader
    with Image.open(drawn / "01_works" / "two_words.png") as image:
        assert image.mode == "P"


def test_pages_lead_to_their_neighbours_however_often_they_are_linked(drawn):
    write_gallery(["01_works"], "smoke", drawn, "")
    links = {"01_works": '../02_fails/02_fails.html" rel="next"'}
    links["02_fails"] = '../01_works/01_works.html" rel="prev"'
    for name, link in links.items():
        text = (drawn / name / f"{name}.html").read_text()
        assert text.count(link) == text.count('href="../index.html"') == 2  # above and below
    assert (drawn / "data_dictionary.csv").exists()


def test_a_renewed_reference_rewrites_the_pages_of_all_but_what_a_killed_renewal_left(
    drawn, tmp_path, monkeypatch
):
    references = tmp_path / "reference"
    monkeypatch.setattr(reference, "REFERENCE", references)
    for name in ("real", ".mini.old"):
        shutil.copytree(drawn, references / name, ignore=shutil.ignore_patterns("index.html"))
    assert main(["reference", "--from", str(drawn)]) == 0
    pages = sorted(references.glob("**/index.html"), key=lambda page: page.stat().st_mtime_ns)
    # the renewed one first: the other may quote it
    assert [page.parent.name for page in pages] == ["smoke", "real"]


def test_pictures_keep_size_and_flat_colours_in_fewer_bytes():
    figure, ax = plt.subplots()
    ax.bar([0], [1], color="#d55e00")
    before = io.BytesIO()
    figure.savefig(before, format="png")
    plt.close(figure)
    after = shrink.shrink_png(before.getvalue())
    contents = (before.getvalue(), after)
    pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content in contents]
    one, other = (np.asarray(picture).astype(int) for picture in pictures)
    assert len(after) < len(before.getvalue())
    assert np.abs(one - other).max() <= 40
    flat = [(pixels == [0xD5, 0x5E, 0x00]).all(axis=2).sum() for pixels in (one, other)]
    assert flat[0] == flat[1]
    assert shrink.shrink_png(after) == after


def test_svg_keeps_its_text_and_its_pictures_take_fewer_bytes():
    encoded = base64.b64encode(noise(64)).decode()
    svg = f'<svg><text>round 1</text><image xlink:href="data:image/png;base64,{encoded}"/></svg>'
    small = shrink.shrink_svg(svg)
    assert "<text>round 1</text>" in small
    assert len(small) < 0.7 * len(svg)
