from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, cohen_kappa_score

from alpt_lib.metrics import (
    COLUMNS,
    Groups,
    accuracy_rows,
    brier_score,
    expected_calibration_error,
    kappa,
    label_savings,
    labels_to_reach,
    overconfidence,
    rare,
    stops_at,
    upsampling,
)

# landbird/land: 3 of 4 right; landbird/water: 0 of 2; waterbird/water: 2 of 2
CORRECT = np.array([1, 1, 1, 0, 0, 0, 1, 1], dtype=bool)
LABELS = Groups(np.array(["landbird"] * 6 + ["waterbird"] * 2, dtype=object))
SUBGROUPS = Groups(np.array(["ll"] * 4 + ["lw"] * 2 + ["ww"] * 2, dtype=object))
REVIEWERS = ("reviewer", Groups(pd.Series(list("aabbccdd"))))


def value(metric, subgroup="all", **options):
    given = {"labels": LABELS, "subgroups": SUBGROUPS, "minority": ["lw"], **options}
    rows = pd.DataFrame(accuracy_rows(CORRECT, **given), columns=COLUMNS)
    return rows[(rows.metric == metric) & (rows.subgroup == subgroup)].value.item()


def test_accuracies_worked_by_hand():
    assert value("accuracy") == 5 / 8
    assert value("accuracy_class_balanced") == (3 / 6 + 2 / 2) / 2
    assert value("accuracy", "ll") == 3 / 4
    assert value("accuracy_worst_group") == 0
    assert value("accuracy_minority") == 0


def test_train_weighted_accuracy_uses_the_pool_shares():
    shares = pd.Series({"ll": 0.7, "lw": 0.1, "ww": 0.2})
    assert value("accuracy_train_weighted", train_weights=shares) == pytest.approx(0.7 * 0.75 + 0.2)


def test_reviewer_percentile_is_over_per_reviewer_accuracies():
    # reviewers a 2/2, b 1/2, c 0/2, d 2/2: sorted 0, .5, 1, 1; the 10th percentile is 0.3 of the
    # way from 0 to .5
    assert value("accuracy_reviewer_mean", percentile_over=REVIEWERS) == 2.5 / 4
    assert value("accuracy_reviewer_p10", percentile_over=REVIEWERS) == pytest.approx(0.15)


def test_an_average_over_what_is_not_there_is_nan_not_zero():
    assert np.isnan(value("accuracy_minority", minority=["lw", "wl"]))
    shares = pd.Series({"another": 0.5, "yet another": 0.5})
    assert np.isnan(value("accuracy_train_weighted", train_weights=shares))


def test_rare_is_what_has_less_than_half_of_an_even_share():
    assert rare(pd.Series({"d": 0.1, "c": 0.125, "b": 0.7, "a": 0.075})) == ["a", "d"]


def test_upsampling_is_the_share_acquired_over_the_share_in_the_pool():
    table = upsampling(pd.Series(["lw", "ll", "lw", "ll"]), pd.Series(["ll"] * 9 + ["lw"]))
    assert table.loc["lw"].tolist() == pytest.approx([0.5, 0.1, 5.0])
    assert table.loc["ll", "ratio"] == pytest.approx(0.5 / 0.9)


def test_upsampling_of_nothing_is_nan():
    assert upsampling(pd.Series([], dtype=object), pd.Series(["a", "b"])).ratio.isna().all()


def test_labels_to_reach_interpolates_between_rounds():
    assert labels_to_reach(np.array([40, 60]), np.array([0.5, 0.7]), 0.6) == pytest.approx(50)
    assert labels_to_reach(np.array([40, 60]), np.array([0.5, 0.7]), 0.4) == 40
    assert labels_to_reach(np.array([40, 60]), np.array([0.5, 0.7]), 0.9) == float("inf")


def test_label_savings_counts_acquired_labels_only():
    baseline = pd.DataFrame({"n_labels": [40, 140], "value": [0.5, 0.6]})
    curve = pd.DataFrame({"n_labels": [40, 65, 140], "value": [0.5, 0.6, 0.8]})
    assert label_savings(curve, baseline) == pytest.approx(100 / 25)
    assert np.isnan(label_savings(baseline.assign(value=[0.4, 0.5]), baseline))


def test_a_baseline_that_gained_nothing_leaves_nothing_to_save():
    baseline = pd.DataFrame({"n_labels": [40, 140], "value": [0.6, 0.5]})
    assert np.isnan(label_savings(baseline, baseline))


@pytest.mark.parametrize("n_bins", [1, 10, 15])
def test_calibration_is_that_of_a_loop_over_bins(n_bins):
    rng = np.random.default_rng(0)
    # with confidences of exactly a bin's edge, and of 1
    probs = np.concatenate([rng.dirichlet([1, 1, 1], 200), [[0.8, 0.1, 0.1], [1, 0, 0]]])
    labels = rng.integers(3, size=len(probs))
    expected = 0.0
    for k in range(n_bins):
        inside = [p for p in range(len(probs)) if k / n_bins < max(probs[p]) <= (k + 1) / n_bins]
        if inside:
            right = np.mean([probs[p].argmax() == labels[p] for p in inside])
            confident = np.mean([max(probs[p]) for p in inside])
            expected += len(inside) / len(probs) * abs(right - confident)
    assert expected_calibration_error(probs, labels, n_bins) == pytest.approx(expected)
    if n_bins == 1:
        assert abs(overconfidence(probs, labels)) == pytest.approx(expected)


def test_the_brier_score_is_scikit_learn_s():
    rng = np.random.default_rng(0)
    probs = rng.dirichlet([1, 1, 1], 50)
    labels = rng.integers(3, size=50)
    theirs = brier_score_loss(labels, probs, labels=[0, 1, 2], scale_by_half=False)
    assert brier_score(probs, labels) == pytest.approx(theirs)
    assert brier_score(np.array([[0.0, 1.0]]), np.array([0])) == 2


def test_kappa_is_scikit_learn_s_and_undefined_for_one_class():
    rng = np.random.default_rng(0)
    before = rng.integers(3, size=100)
    after = np.where(rng.random(100) < 0.2, rng.integers(3, size=100), before)
    assert kappa(before, after) == pytest.approx(cohen_kappa_score(before, after))
    assert np.isnan(kappa(np.ones(5, dtype=int), np.ones(5, dtype=int)))


def test_asking_stops_where_the_mean_of_the_last_kappas_reaches_the_threshold():
    # half of 100 examples are 1; each model flips so many of the one before
    flips = [20, 0, 2, 0, 0, 0]
    models = [np.arange(100) % 2]
    for n in flips:
        models.append(np.where(np.arange(100) < n, 1 - models[-1], models[-1]))
    # with even halves, n flips give kappa 1 - n / 50
    assert [round(kappa(*pair), 9) for pair in pairwise(models)] == [
        0.6, 1, 0.96, 1, 1, 1
    ]  # fmt: skip
    assert stops_at(models) == 6
    assert stops_at(models, window=1) == 2
    assert stops_at(models, threshold=0.98) == 4
    assert stops_at(models[:6]) is None
    assert stops_at(models[:1]) is None
