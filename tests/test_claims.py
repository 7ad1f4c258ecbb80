from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from companion.report import claims, estimates
from companion.report.claims import CLAIMS, Claim, verdict
from companion.report.estimates import Interval, t_interval


def study(gain: dict[int, float], dataset="waterbirds", model="bit-m"):
    """Random ends at 0.5 on every seed, least confidence at 0.5 plus the given gain."""
    rows = [
        {
            "dataset": dataset,
            "model": model,
            "acquisition": arm,
            "seed": seed,
            "stopping": "loss_ratio",
            "round": r,
            "n_labels": 40 + 20 * r,
            "split": "val",
            "subgroup": "all",
            "metric": "accuracy",
            "value": 0.4 + r * (0.1 + (g if arm == "least_confidence" else 0.0)),
        }
        for seed, g in gain.items()
        for arm in ("random", "least_confidence")
        for r in (0, 1)
    ]
    acquired = [
        {
            "dataset": dataset,
            "model": model,
            "acquisition": "least_confidence",
            "seed": seed,
            "round": 1,
            "subgroup": group,
        }
        for seed in gain
        for group in ("a/x", "a/y")
    ]
    data = SimpleNamespace(
        description=SimpleNamespace(default_model="bit-m"),
        eval_splits=["val"],
        minority=["a/y"],
        subgroup=lambda split: np.array(["a/x"] * 9 + ["a/y"], dtype=object),
        pool_shares=pd.Series({"a/x": 0.9, "a/y": 0.1}),
    )
    return SimpleNamespace(
        metrics=pd.DataFrame(rows),
        acquisitions=pd.DataFrame(acquired),
        datasets={dataset: data},
        parameters={"preset": "mini"},
    )


def test_the_interval_is_students_over_seeds():
    values = pd.Series([0.1, 0.2, 0.4])
    expected = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    found = t_interval(values)
    assert (found.low, found.high, found.n) == (
        pytest.approx(expected[0]),
        pytest.approx(expected[1]),
        3,
    )


def test_gains_are_paired_by_seed():
    found = estimates.gains(study({1: 0.1, 2: 0.3}), "waterbirds", "accuracy")
    assert found.to_dict() == pytest.approx({1: 0.1, 2: 0.3})


def test_an_oversampled_minority_has_a_ratio_above_one():
    assert estimates.ratios(study({1: 0.1}), "waterbirds").tolist() == pytest.approx([0.5 / 0.1])


def test_label_savings_of_a_curve_twice_as_steep():
    found = estimates.saved_labels("waterbirds", "accuracy")(study({1: 0.1, 2: 0.1}))
    assert found.estimate == pytest.approx(2.0)
    assert (found.low, found.high) == (pytest.approx(2.0), pytest.approx(2.0))


@pytest.mark.parametrize(
    ("expect", "interval", "expected"),
    [
        ("above", (0.1, 0.05, 0.15), "reproduced"),
        ("above", (0.1, -0.05, 0.25), "right direction"),
        ("above", (-0.1, -0.25, 0.05), "not reproduced"),
        ("not above", (0.02, -0.01, 0.05), "reproduced"),
        ("not above", (-0.2, -0.3, -0.1), "reproduced"),
        ("not above", (0.02, 0.01, 0.03), "not reproduced"),
        ("equal", (0.01, -0.01, 0.03), "reproduced"),
        ("equal", (-0.02, -0.03, -0.01), "not reproduced"),
        ("above", (0.1, np.nan, np.nan), "not testable"),
    ],
)
def test_verdicts(expect, interval, expected):
    claim = Claim("01", "x", "y", lambda s: None, expect=expect)
    assert verdict(claim, Interval(*interval, 5), "mini") == expected


def test_the_papers_value_counts_at_the_paper_preset_only():
    claim, found = Claim("01", "x", "y", lambda s: None, paper=0.11), Interval(0.05, 0.03, 0.07, 16)
    assert verdict(claim, found, "mini") == "reproduced"
    assert verdict(claim, found, "paper") == "right direction"


def test_a_claim_without_its_data_is_not_testable(tmp_path):
    s = study({1: 0.1, 2: 0.1}, dataset="mine")
    s.save_table = lambda table, name: table.to_csv(tmp_path / f"{name}.csv")
    table = claims.check_claims("01_accuracy_curves", s)
    assert set(table.verdict) == {"not testable"}
    assert len(table) == sum(c.notebook == "01_accuracy_curves" for c in CLAIMS)


def test_one_seed_gives_no_verdict():
    s = study({1: 0.1})
    found = estimates.gain("waterbirds", "accuracy")(s)
    assert found.n == 1
    assert np.isnan(found.low)
