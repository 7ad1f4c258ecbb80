import io
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from alpt_lib import datasets
from alpt_lib.acquisition import ACQUISITION_FUNCTIONS
from companion.report import contact_sheets, plotting

mpl.use("Agg")


def rows(n_seeds: int, arms=("random", "least_confidence")) -> pd.DataFrame:
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
    assert set(plotting.COLOURS) == set(ACQUISITION_FUNCTIONS)
    assert len(set(plotting.COLOURS.values())) == len(plotting.COLOURS)


def test_names_of_lines_that_end_together_do_not_overlap(ax):
    plotting.curve(ax, rows(2, tuple(ACQUISITION_FUNCTIONS)))
    ax.figure.canvas.draw()
    boxes = sorted((t.get_window_extent() for t in ax.texts), key=lambda box: box.y0)
    assert len(boxes) == 4
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))


def test_names_of_lines_that_end_together_stay_about_where_they_end(ax):
    ends = {
        "random": (1, 0.50, "black"),
        "margin": (1, 0.51, "black"),
        "entropy": (1, 0.9, "black"),
    }
    plotting._label_ends(ax, ends)
    assert [t.get_text() for t in ax.texts] == ["random", "margin", "entropy"]
    low, high, alone = (t.xy[1] for t in ax.texts)
    assert (low + high) / 2 == pytest.approx(0.505)
    assert alone == 0.9


def test_a_curve_is_the_mean_over_seeds_with_a_gaussian_band(ax):
    plotting.curve(ax, rows(2, ("random",)))
    assert ax.lines[0].get_ydata() == pytest.approx([0.515, 0.525])
    half = 1.96 * np.std([0.51, 0.52], ddof=1) / np.sqrt(2)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.515 - half, 0.525 + half))


def test_one_seed_draws_a_line_and_says_that_there_is_no_interval(ax):
    plotting.curve(ax, rows(1))
    assert len(ax.lines) == 2
    runs = pd.DataFrame(
        [
            ("a", "m", arm, seed)
            for arm, seeds in (("x", [1, 2, 3]), ("y", [1, 2]))
            for seed in seeds
        ],
        columns=["dataset", "model", "acquisition", "seed"],
    )
    assert plotting.seed_note(runs).startswith("95% CI over 2 to 3 seeds")
    assert plotting.seed_note(runs[runs.acquisition == "y"]).startswith("95% CI over 2 seeds")
    assert "no interval" in plotting.seed_note(runs[runs.seed == 1])


def test_bars_keep_their_order_and_carry_the_share_of_the_pool(ax):
    shares = pd.DataFrame(
        {"acquisition": ["random"] * 2, "seed": [1, 1], "group": ["a/b", "c"], "value": [0.2, 0.8]}
    )
    plotting.bars_with_pool_share(ax, shares, pd.Series({"a/b": 0.4, "c": 0.6}), "group")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a\nb", "c"]
    assert [p.get_height() for p in ax.patches] == [0.2, 0.8]
    assert [line.get_ydata()[0] for line in ax.lines if line.get_color() == plotting.HIGHLIGHT] == [
        0.4,
        0.6,
    ]


def test_a_contact_sheet_frames_minority_examples_only(ax, birds_folder):
    data = datasets.read_dataset(birds_folder)
    subgroups = data.subgroup("pool")
    chosen = [
        int(np.flatnonzero(subgroups == name)[0])
        for name in (data.minority[0], data.pool_shares.index[0])
    ]
    asked = pd.DataFrame(
        {"round": [1, 2], "rank": [0, 0], "index": chosen, "subgroup": subgroups[chosen]}
    )
    contact_sheets.contact_sheet(ax, data, asked, columns=1, size=20)
    sheet = ax.images[0].get_array()
    assert sheet.shape == (40, 20, 3)
    frame = tuple(int(plotting.HIGHLIGHT[i : i + 2], 16) for i in (1, 3, 5))
    assert tuple(sheet[2, 10]) == frame
    assert tuple(sheet[22, 10]) == (255, 255, 255)


def test_the_same_figure_is_the_same_bytes(ax):
    twice = [io.BytesIO(), io.BytesIO()]
    for file in twice:
        figure, axes = plt.subplots()
        plotting.curve(axes, rows(2))
        figure.savefig(file, format="svg", metadata={"Date": None})
        plt.close(figure)
    assert twice[0].getvalue() == twice[1].getvalue()


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


def test_the_bar_below_a_picture_has_its_subgroups_colour(ax, birds_folder):
    data = datasets.read_dataset(birds_folder)
    colours = plotting.subgroup_colours(sorted(data.pool_shares.index))
    rows = [int(np.flatnonzero(data.subgroup("pool") == name)[0]) for name in sorted(colours)]
    asked = pd.DataFrame(
        {"round": 1, "rank": range(len(rows)), "index": rows, "subgroup": sorted(colours)}
    )
    contact_sheets.contact_sheet(ax, data, asked, columns=len(rows), size=20)
    below = ax.images[0].get_array()[16, 10::20]
    assert [mpl.colors.to_hex(np.array(c) / 255) for c in below] == [
        colours[name] for name in sorted(colours)
    ]


def test_texts_are_shown_by_round_with_their_subgroup_marked(ax, reviews_folder):
    data = datasets.read_dataset(reviews_folder)
    asked = pd.DataFrame(
        {
            "round": [1, 1, 1, 1, 2],
            "rank": [0, 1, 2, 3, 0],
            "index": [0, 1, 2, 3, 4],
            "subgroup": "all",
        }
    )
    contact_sheets.contact_sheet(ax, data, asked)
    texts = [t.get_text().replace("\n", " ") for t in ax.texts]
    assert texts == [data.rows("pool")["text"].tolist()[i] for i in (0, 1, 2, 4)]  # three a round
    assert [t.get_text() for t in ax.get_yticklabels()] == ["round 1", "round 2"]
    assert len(ax.patches) == 4


def test_sheets_of_two_arms_stand_side_by_side_with_what_they_asked_for(birds_folder):
    plotting.house_style()
    data, figure = datasets.read_dataset(birds_folder), plt.figure(figsize=(plotting.WIDTH, 2))
    rare = np.flatnonzero(np.isin(data.subgroup("pool"), data.minority))[:2]
    common = np.flatnonzero(~np.isin(data.subgroup("pool"), data.minority))[:2]
    asked = pd.DataFrame(
        {
            "acquisition": ["random"] * 2 + ["margin"] * 2,
            "round": 1,
            "rank": [0, 1, 0, 1],
            "index": [common[0], rare[0], *rare],
        }
    )
    asked["subgroup"] = data.subgroup("pool")[asked["index"]]
    contact_sheets.sheets(figure, data, asked, ["random", "margin"], "birds, ")
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "birds, random: 50% minority",
        "birds, margin: 100% minority",
    ]
    assert sorted(t.get_text() for t in figure.legends[0].get_texts()) == sorted(
        data.pool_shares.index
    )
    plt.close(figure)


@pytest.mark.parametrize("label", ["before fine-tuning", "no person/building"])
def test_names_below_bars_are_broken_so_that_they_do_not_touch(ax, label):
    plotting.bars(
        ax,
        pd.DataFrame({"acquisition": "random", "group": [label, "b"], "value": [0.2, 0.8]}),
        "group",
    )
    assert max(map(len, ax.get_xticklabels()[0].get_text().split("\n"))) <= 12
