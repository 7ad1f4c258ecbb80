import numpy as np
import pandas as pd
import pytest

from alpt_lib.metrics import COLUMNS, Groups, accuracy_rows, rare

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
