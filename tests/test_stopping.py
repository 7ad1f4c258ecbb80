from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from companion.stopping import kappa, stops_at


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
