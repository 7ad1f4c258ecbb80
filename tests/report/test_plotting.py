"""Curves, bars and contact sheets: what they draw, and that users' words stay words."""

import io
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from alpt_lib.acquisition import acquisition_names
from alpt_lib.datasets import Dataset, read_dataset
from companion.report import contact_sheets, plotting

mpl.use("Agg")

RUN = ["dataset", "model", "acquisition"]


def rows(n_seeds: int, arms: tuple[str, ...] = ("random", "least_confidence")) -> pd.DataFrame:
    cells = [
        (arm, n, seed, 0.5 + 0.001 * n + 0.01 * seed)
        for arm in arms
        for n in (10, 20)
        for seed in range(n_seeds)
    ]
    return pd.DataFrame(cells, columns=["acquisition", "n_labels", "seed", "value"])


@pytest.fixture
def ax():
    plotting.house_style()
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def test_every_acquisition_function_has_a_colour_of_its_own():
    assert set(plotting.COLOURS) == set(acquisition_names())
    assert len(set(plotting.COLOURS.values())) == len(plotting.COLOURS)


def test_names_of_lines_that_end_together_do_not_overlap(ax):
    plotting.curve(ax, rows(2, tuple(acquisition_names()[:4])))
    ax.figure.canvas.draw()
    boxes = sorted((t.get_window_extent() for t in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == 4
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))


def test_names_of_lines_that_end_together_stay_about_where_they_end():
    low, high, alone = plotting.spread([0.50, 0.51, 0.9], gap=0.09, floor=0.0)
    assert high - low == pytest.approx(0.09)
    assert (low + high) / 2 == pytest.approx(0.505)
    assert alone == 0.9


def test_a_triangle_stands_on_the_mean_curve_for_every_run_that_ends(ax):
    ends = {"random": [15, np.nan], "least_confidence": [10, 20]}
    stops = pd.DataFrame([(arm, n) for arm, at in ends.items() for n in at])
    plotting.mark_stops(ax, rows(2), stops.set_axis(["acquisition", "n_labels"], axis=1))
    marked = [line.get_xydata().round(6).tolist() for line in ax.lines]
    assert marked == [[[15, 0.52]], [[10, 0.515], [20, 0.525]]]


def test_a_gain_matrix_has_choosers_in_rows_and_bold_where_the_interval_excludes_0(ax):
    cells = [("a", "a", 0.5, 0.1, 0.05, 0.15), ("a", "b", 0.6, -0.02, -0.05, 0.01)]
    columns = ["acquisition", "model", "random", "gain", "ci_low", "ci_high"]
    plotting.gain_matrix(ax, pd.DataFrame(cells, columns=columns), ["a", "b"])
    shown = {text.get_text(): (text.xy, text.get_weight()) for text in ax.texts}
    assert shown["+0.10"] == ((0, 0), "bold")
    assert shown["-0.02"] == ((1, 0), "normal")
    assert shown["±0.05"][0] == (0, 0)
    assert shown["±0.03"][0] == (1, 0)
    assert (shown["0.50"][0], shown["0.60"][0]) == ((0, 2), (1, 2))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b", "random sets"]


def test_a_curve_is_the_mean_over_seeds_with_a_students_t_band(ax):
    plotting.curve(ax, rows(2, ("random",)))
    assert ax.lines[0].get_ydata() == pytest.approx([0.515, 0.525])
    half = stats.t.ppf(0.975, 1) * stats.sem([0.51, 0.52])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.515 - half, 0.525 + half))


def test_one_seed_draws_a_line_and_says_that_there_is_no_interval(ax):
    plotting.curve(ax, rows(1))
    assert len(ax.lines) == 2
    runs = pd.DataFrame({"acquisition": list("xxxyy"), "seed": [1, 2, 3, 1, 2]})
    runs = runs.assign(dataset="a", model="m")
    assert plotting.seed_note(runs).startswith("95% CI over 2 to 3 seeds (Student's t)")
    assert plotting.seed_note(runs[runs.acquisition == "y"]).startswith("95% CI over 2 seeds")
    assert "no interval" in plotting.seed_note(runs[runs.seed == 1])


def test_bars_keep_their_order_and_carry_the_share_of_the_pool(ax):
    shares = pd.DataFrame({"acquisition": "random", "group": ["a/b", "c"], "value": [0.2, 0.8]})
    plotting.bars_with_pool_share(ax, shares, pd.Series({"a/b": 0.4, "c": 0.6}), "group")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a\nb", "c"]
    assert [p.get_height() for p in ax.patches] == [0.2, 0.8]
    lines = [line for line in ax.lines if line.get_color() == plotting.HIGHLIGHT]
    assert [line.get_ydata()[0] for line in lines] == [0.4, 0.6]


@pytest.mark.parametrize("label", ["before fine-tuning", "no person/building"])
def test_names_below_bars_are_broken_so_that_they_do_not_touch(ax, label):
    values = pd.DataFrame({"acquisition": "random", "group": [label, "b"], "value": [0.2, 0.8]})
    plotting.bars(ax, values, "group")
    assert max(map(len, ax.get_xticklabels()[0].get_text().split("\n"))) <= 12


@pytest.mark.parametrize(("columns", "kept"), [(1, 1), (2, 1), (3, 1), (4, 2)])
def test_a_phone_gets_the_panels_below_one_another_and_the_figure_is_as_before(ax, columns, kept):
    figure, axes = plotting.grid(2, 2.0, columns=columns, sharey="row")
    axes[1, -1].set_visible(columns == 1)
    plotting.note_seeds(figure, pd.DataFrame([{**dict.fromkeys(RUN, 1), "seed": 1}]))
    axes[0, 0].plot([1, 2], label="a")
    plotting.legend(figure, axes[0, 0])
    before = [[place.bounds for place in places(figure)], figure.get_suptitle()]
    with plotting.stacked(figure):
        assert figure.get_figwidth() == plotting.NARROW
        shown = [ax for ax in axes.flat if ax.get_visible()]
        lefts = {round(ax.get_window_extent().x0) for ax in drawn(figure, shown)}
        assert len(lefts) == kept
        tops = [ax.get_window_extent().y1 for ax in shown[::kept]]
        assert tops == sorted(tops, reverse=True)
        assert all(ax.yaxis.get_tick_params()["labelleft"] for ax in shown)
    assert figure.get_figwidth() == plotting.WIDTH
    assert [[place.bounds for place in places(figure)], figure.get_suptitle()] == before
    assert axes[0, -1].yaxis.get_tick_params().get("labelleft", True) == (columns == 1)
    plt.close(figure)


def drawn(figure, axes):
    figure.canvas.draw()
    return axes


def places(figure):
    figure.canvas.draw()
    return [ax.get_position() for ax in figure.axes]


def test_the_same_figure_is_the_same_bytes(ax):
    files = []
    for _ in range(2):
        figure, axes = plt.subplots()
        plotting.curve(axes, rows(2))
        files.append(io.BytesIO())
        figure.savefig(files[-1], format="svg", metadata={"Date": None})
        plt.close(figure)
    assert files[0].getvalue() == files[1].getvalue()


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("accuracy_reviewer_p10", "accuracy, worst 10th percentile by reviewer"),
        ("accuracy_reviewer_mean", "accuracy, mean by reviewer"),
        ("bit-m", "BiT-M"),
        ("timm:mobilenetv2_100-np", "mobilenetv2_100, not pretrained"),
        ("early_stopping", "early stopping"),
    ],
)
def test_keys_become_words(key, words):
    assert plotting.name(key) == words


# --- contact sheets


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def first_of_each(data: Dataset) -> pd.DataFrame:
    """A minority, a majority and an unknown example, a round each."""
    subgroups = data.subgroup("pool")
    chosen = [data.minority[0], data.pool_shares.index[0]]
    index = [int(np.flatnonzero(subgroups == name)[0]) for name in chosen]
    asked = pd.DataFrame({"round": [1, 2, 3], "rank": 0, "index": [*index, 0]})
    return asked.assign(subgroup=[*chosen, ""])


def test_pictures_are_framed_by_whether_they_are_minority_and_shown_as_the_model_gets_them(
    ax, birds_folder
):
    data = read_dataset(birds_folder)
    asked = first_of_each(data)
    contact_sheets.contact_sheet(ax, data, asked)
    sheet = np.asarray(ax.images[0].get_array())
    cell = contact_sheets.CELL
    assert sheet.shape == (3 * cell, contact_sheets.COLUMNS * cell, 3)
    colours = [plotting.HIGHLIGHT, contact_sheets.OTHERS, contact_sheets.UNKNOWN]
    assert [tuple(sheet[i * cell + 2, 10]) for i in range(3)] == [rgb(c) for c in colours]
    with Image.open(data.files("pool")[asked["index"][0]]) as image:
        pixels = np.asarray(image.convert("RGB"))
    start = contact_sheets.FRAME + 1
    shown = sheet[start : start + contact_sheets.PICTURE, start : start + contact_sheets.PICTURE]
    assert (shown[::2, ::2] == pixels).all()


def test_texts_are_shown_by_round_with_their_subgroup_marked_and_are_no_formulas(
    ax, reviews_folder, tmp_path
):
    data = read_dataset(reviews_folder)
    data.rows("pool").loc[4, "text"] = "costs $5, not $6_{"
    asked = pd.DataFrame({"round": [1, 1, 1, 1, 2], "rank": [0, 1, 2, 3, 0], "index": range(5)})
    contact_sheets.contact_sheet(ax, data, asked.assign(subgroup="all"))
    ax.set_title("a class called $x^$")
    ax.figure.savefig(tmp_path / "a.png")
    texts = [t.get_text().replace("\n", " ") for t in ax.texts]
    assert texts == [data.rows("pool")["text"].tolist()[i] for i in (0, 1, 2, 4)]  # three a round
    assert [t.get_text() for t in ax.get_yticklabels()] == ["round 1", "round 2"]
    assert len(ax.patches) == 4


def test_sheets_stand_side_by_side_and_say_what_share_of_all_asked_is_minority(birds_folder):
    plotting.house_style()
    data = read_dataset(birds_folder)
    figure = plt.figure(figsize=(plotting.WIDTH, 2))
    is_rare = np.isin(data.subgroup("pool"), data.minority)
    index = [*np.flatnonzero(~is_rare)[:1], *np.flatnonzero(is_rare)[:3]]
    # the last of each is beyond what the sheet shows
    asked = pd.DataFrame({"round": 1, "rank": [0, 99, 0, 99], "index": index})
    asked["acquisition"] = ["random", "random", "margin", "margin"]
    asked["subgroup"] = data.subgroup("pool")[asked["index"]]
    contact_sheets.sheets(figure, data, asked, ["random", "margin"], "birds, ")
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "birds, random\ndisambiguating: 50% of the whole batches",
        "birds, margin\ndisambiguating: 100% of the whole batches",
    ]
    (minority, others) = [t.get_text() for t in figure.legends[0].get_texts()]
    assert all(name in minority for name in data.minority)
    assert others == "others"
    plt.close(figure)
