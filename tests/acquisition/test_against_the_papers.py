"""Each function beside its paper's definition, worked by brute force on tiny arrays."""

from collections import Counter

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.cluster import AgglomerativeClustering
from test_every_function import LinearHead, candidates, ordinary

from alpt_lib.acquisition import choose
from companion.acquisition import controls, diversity, hybrids, uncertainty

HEAD = LinearHead(ordinary())
OPEN = candidates(HEAD)


def rng(seed=0):
    return np.random.default_rng(seed)


def blobs(sizes, spread=0.05, seed=3):
    """(n, 2) points about as many centres, far from each other, one blob after the other."""
    centres = 10 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [-1, -1]])
    parts = [rng(seed).normal(centres[i], spread, (n, 2)) for i, n in enumerate(sizes)]
    return np.concatenate(parts)


def test_badge_is_k_means_plus_plus_on_the_explicit_gradients():
    probs = OPEN.probs
    gradients = []
    for p, h in zip(probs, OPEN.features, strict=True):
        error = p - np.eye(3)[p.argmax()]
        gradients.append(np.outer(error, h).ravel())
    gradients = np.array(gradients)
    draws = rng(5)
    chosen = [np.linalg.norm(gradients, axis=1).argmax()]
    while len(chosen) < 8:
        squares = [min(((g - gradients[c]) ** 2).sum() for c in chosen) for g in gradients]
        chosen.append(np.searchsorted(np.cumsum(squares), draws.random() * sum(squares)))
    assert hybrids.badge(OPEN, 8, rng(5)).tolist() == chosen


def test_core_set_takes_what_is_furthest_from_all_that_is_taken():
    taken = list(OPEN.labelled_features)
    chosen = []
    for _ in range(8):
        gaps = [min(np.linalg.norm(x - t) for t in taken) for x in OPEN.features]
        chosen.append(int(np.argmax(gaps)))
        taken.append(OPEN.features[chosen[-1]])
    assert diversity.core_set(OPEN, 8, rng()).tolist() == chosen


def test_typi_clust_asks_for_the_most_typical_of_the_largest_unlabelled_blobs():
    points = blobs([30, 12, 25, 3])
    given = candidates(LinearHead(points), labelled=np.array([0]))
    rows = given.rows[diversity.typi_clust(given, 3, rng())]
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    expected = []
    for members in (range(42, 67), range(30, 42)):
        means = []
        for i in members:
            gaps = sorted(np.linalg.norm(unit[i] - unit[j]) for j in members if j != i)
            means.append(np.mean(gaps[:20]))
        expected.append(members[int(np.argmin(means))])
    assert rows[:2].tolist() == expected
    # the blob of 30 has a label, but the one of 3 is too small
    assert rows[2] < 30


def test_prob_cover_covers_most_with_the_largest_balls_of_which_95_percent_are_pure():
    points = blobs([20, 30])
    points[19] = [5.2, 4.5]
    given = candidates(LinearHead(points), labelled=np.array([3]))
    given.n_classes = 2
    gaps = np.linalg.norm(points[:, None] - points, axis=2)
    guess = np.arange(50) > 19
    impure = np.array([min(gaps[i][guess != guess[i]]) for i in range(50)])
    radius = max(r for r in impure if np.mean(impure >= r) >= 0.95)
    within = gaps < radius
    assert (diversity.balls(points, 2).toarray() == within).all()
    is_open = ~within[3]
    for row in given.rows[diversity.prob_cover(given, 5, rng())]:
        covers = (within & is_open).sum(axis=1)
        assert covers[row] == covers.max()
        is_open &= ~within[row]


def test_drop_query_asks_for_central_examples_of_those_whose_class_hangs_on_few_features():
    given = candidates(LinearHead(ordinary(300)))
    draws = rng(2)
    usual = given.probs.argmax(axis=1)
    changes = np.zeros(len(given))
    for _ in range(3):
        kept = draws.random(given.features.shape, dtype=np.float32) >= 0.75
        changes += given.probs_of_features(4 * given.features * kept).argmax(axis=1) != usual
    doubtful = np.flatnonzero(changes > 1.5)
    assert 20 < len(doubtful) < 280
    asked = hybrids.drop_query(given, 6, rng(2))
    assert set(asked) <= set(doubtful)
    # each is the nearest to the mean of those that it is nearest to, but for the last steps
    own = np.linalg.norm(given.features[doubtful, None] - given.features[asked], axis=2).argmin(1)
    far = [
        np.linalg.norm(given.features[doubtful] - given.features[i], axis=1).mean() for i in asked
    ]
    usual_far = np.linalg.norm(given.features[doubtful, None] - given.features[doubtful], axis=2)
    assert len(set(own)) == 6
    assert np.mean(far) < usual_far.mean()
    few = hybrids.drop_query(given, len(doubtful) + 5, rng(2))
    assert set(doubtful) < set(few)


def test_bald_is_the_entropy_of_the_mean_less_the_mean_entropy():
    draws = rng(7)
    masks = (draws.random((20, 5)) >= 0.5) * 2.0
    scores = []
    for h in OPEN.features:
        predictions = [softmax((h * mask) @ HEAD.weights) for mask in masks]
        mean = np.mean(predictions, axis=0)
        own = [-(p * np.log(p)).sum() for p in predictions]
        scores.append(-(mean * np.log(mean)).sum() - np.mean(own))
    assert uncertainty.bald(OPEN, 9, rng(7)).tolist() == np.argsort(scores)[::-1][:9].tolist()


def test_power_least_confidence_asks_in_proportion_to_the_doubt():
    """4,000 draws of one: each share within 4 standard deviations, 0.008 at most."""
    draws = rng()
    times = Counter(
        int(choose("power_least_confidence", OPEN, 1, draws, "paper")[0][0]) for _ in range(4000)
    )
    doubt = 1 - OPEN.probs.max(axis=1)
    shares = np.array([times[row] for row in OPEN.rows]) / 4000
    assert abs(shares - doubt / doubt.sum()).max() < 4 * 0.008


def test_cluster_margin_asks_one_of_each_cluster_of_the_smallest_margins():
    given = candidates(LinearHead(ordinary(300)))
    asked = hybrids.cluster_margin(given, 5, rng())
    ordered = np.sort(given.probs, axis=1)
    kept = np.argsort(ordered[:, -1] - ordered[:, -2])[:50]
    assert set(asked) <= set(kept)
    clusters = AgglomerativeClustering(5, linkage="average").fit_predict(given.features[kept])
    sizes = np.bincount(clusters)
    of_asked = [clusters[kept.tolist().index(i)] for i in asked]
    assert len(set(of_asked)) == 5
    assert [sizes[c] for c in of_asked] == sorted(sizes)


@pytest.mark.parametrize("control", ["cheating_class_balance", "cheating_group_balance"])
def test_a_control_levels_what_is_labelled_as_far_as_the_pool_goes(control):
    given = candidates(LinearHead(ordinary(400)))
    groups = given.answers.labels if "class" in control else given.answers.subgroups
    few = groups == groups[0]
    # of one group only ten are left
    is_open = ~few | (np.cumsum(few) <= 10)
    given.rows = np.setdiff1d(np.flatnonzero(is_open), given.labelled)
    asked = given.rows[getattr(controls, control)(given, 60, rng())]
    assert set(np.flatnonzero(few & is_open)) <= {*given.labelled, *asked}
    counts = Counter(groups[[*given.labelled, *asked]].tolist())
    others = [count for name, count in counts.items() if name != groups[0]]
    assert max(others) - min(others) <= 1
    assert getattr(controls, control)(given, 60, rng(1)).tolist() != asked.tolist()


@pytest.mark.parametrize("control", ["cheating_class_balance", "cheating_group_balance"])
def test_a_control_asks_last_for_what_the_oracle_cannot_tell(control):
    given = candidates(HEAD)
    given.answers.labels[10:20] = -1
    asked = given.rows[getattr(controls, control)(given, 30, rng())]
    assert not set(asked[:26]) & set(range(10, 20))
    assert set(asked[26:]) <= set(range(10, 20))
