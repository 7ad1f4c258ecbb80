import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss

from companion.report.quantities import (
    brier_score,
    expected_calibration_error,
    label_savings,
    labels_to_reach,
    overconfidence,
    upsampling,
)


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
