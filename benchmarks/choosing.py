"""20 of 100,000 examples with 128 features and 10 classes, by each way of asking; and its rivals.

    python benchmarks/choosing.py [--quick] [--rivals FOLDER]

FOLDER holds them: pip install --target FOLDER scikit-activeml small-text. Each is called as its
documentation says, with the same linear head and 200 labels; on one thread. Where a function draws
nothing, or the same masks, scikit-activeml must ask for the same examples. Memory is what a call
needs beyond its inputs, measured in a forked process. BADGE is measured once more at 20,000 x 768
features x 100 classes.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable

# as in a worker; read when numpy is imported
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
from scipy.special import softmax
from selection import memory, timed

from alpt_lib.acquisition import Answers, Candidates, acquisition_names, choose
from companion.acquisition import diversity

N_QUERY = 20
N_LABELLED = 200
INSTALL = "pip install --target FOLDER scikit-activeml small-text"
# distances of all pairs, of which scikit-activeml's ProbCover and KMeans keep whole matrices
MOST_PAIRS = 20_000**2


class Head:
    """A linear head and the features that it reads; the first N_LABELLED rows are labelled."""

    def __init__(self, n: int, n_features: int, n_classes: int):
        rng = np.random.default_rng(0)
        self.labels = rng.integers(n_classes, size=n)
        centres = rng.standard_normal((n_classes, n_features), dtype=np.float32)
        self.all_features = rng.standard_normal((n, n_features), dtype=np.float32)
        self.all_features += centres[self.labels]
        self.weights = 2 * centres.T / n_features

    def probs_of_features(self, features: np.ndarray) -> np.ndarray:
        return softmax(features @ self.weights, axis=1)

    def features(self, split: str, rows: np.ndarray) -> np.ndarray:
        # neighbouring rows: no copy
        return self.all_features[rows[0] : rows[-1] + 1]

    def predict_probs(self, split: str, rows: np.ndarray) -> np.ndarray:
        return self.probs_of_features(self.features(split, rows))


def ours(name: str, head: Head) -> np.ndarray:
    labelled = np.arange(N_LABELLED)
    rows = np.arange(N_LABELLED, len(head.labels))
    # as in the first round
    diversity.KEPT_GRAPH.clear()
    answers = Answers(head.labels, head.labels.astype(str))
    candidates = Candidates(head, rows, labelled, head.labels[:N_LABELLED], answers)
    return choose(name, candidates, N_QUERY, np.random.default_rng(1), "paper")[0]


def scikit_activeml(name: str, head: Head) -> np.ndarray:
    from skactiveml import pool
    from skactiveml.base import SkactivemlClassifier

    class Known(SkactivemlClassifier):
        def __init__(self, mask=None, classes=None, missing_label=-1):
            super().__init__(classes=classes, missing_label=missing_label)
            self.mask = mask
            self.classes_ = np.array(classes)

        def fit(self, X, y):
            return self

        def predict_proba(self, X):
            return head.probs_of_features(X if self.mask is None else X * self.mask)

        def predict(self, X):
            return self.predict_proba(X).argmax(axis=1)

    labels = np.full(len(head.labels), -1)
    labels[:N_LABELLED] = head.labels[:N_LABELLED]
    settings = {"missing_label": -1, "random_state": 1}
    given = {"X": head.all_features, "y": labels, "batch_size": N_QUERY}
    n_features, n_classes = head.weights.shape
    classes = list(range(n_classes))
    if name == "bald":
        masks = (np.random.default_rng(1).random((20, n_features)) > 0.5) * np.float32(2)
        ensemble = [Known(mask, classes) for mask in masks]
        return pool.GreedyBALD(**settings).query(**given, ensemble=ensemble, fit_ensemble=False)
    kinds = {"badge": "Badge", "drop_query": "DropQuery", "core_set": "CoreSet"}
    kinds |= {"typi_clust": "TypiClust", "prob_cover": "ProbCover"}
    strategy = getattr(pool, kinds[name])(**settings)
    if name in ("badge", "drop_query"):
        given |= {"clf": Known(None, classes), "fit_clf": False}
    return np.asarray(strategy.query(**given))


def small_text(name: str, head: Head) -> np.ndarray:
    from small_text.query_strategies.coresets import greedy_coreset

    rows = np.arange(N_LABELLED, len(head.labels))
    features = head.all_features
    best = greedy_coreset(
        features, rows, np.arange(N_LABELLED), N_QUERY, distance_metric="euclidean"
    )
    return rows[best] if best.max() < len(rows) else best


# name -> its module, what asks it, and which of ours it has
SHARED = ["bald", "badge", "drop_query", "core_set", "typi_clust", "prob_cover"]
RIVALS: dict[str, tuple[str, Callable[[str, Head], np.ndarray], list[str]]] = {
    "scikit-activeml": ("skactiveml", scikit_activeml, SHARED),
    "small-text": ("small_text", small_text, ["core_set"]),
}


def measure(n: int, rivals: list[str]) -> list[dict]:
    """One row per acquisition function and library: s, GB, and how many times ours the time is."""
    head = Head(n, 128, 10)
    rows = []
    for name in acquisition_names():
        asked: dict[str, Callable] = {"ours": ours}
        asked |= {library: RIVALS[library][1] for library in rivals if name in RIVALS[library][2]}
        if name == "prob_cover" and n**2 > MOST_PAIRS:
            print(f"scikit-activeml's ProbCover left out: it would keep {n**2 * 8 / 1e9:.0f} GB")
            asked = {"ours": ours}
        least = dict.fromkeys(asked, np.inf)
        chosen: dict[str, np.ndarray] = {}
        for _ in range(2):
            for library, call in asked.items():
                took, chosen[library] = timed(call, name, head)
                least[library] = min(least[library], took)
        rows += [_row(name, lib, head, asked[lib], least, chosen) for lib in asked]
    return rows


def _row(
    name: str, library: str, head: Head, call: Callable, least: dict, chosen: dict
) -> dict[str, object]:
    n_same = len(set(chosen[library].tolist()) & set(chosen["ours"].tolist()))
    # small-text's rounding takes another of two that are equally far
    if name in ("core_set", "bald") and library == "scikit-activeml":
        assert n_same == N_QUERY, f"{library} asks for {n_same} of our {N_QUERY}"
    return {
        "n": len(head.labels),
        "features": head.weights.shape[0],
        "classes": head.weights.shape[1],
        "acquisition": name,
        "library": library,
        "seconds": least[library],
        "times_ours": least[library] / least["ours"],
        "peak_gb": memory(call, name, head),
        "features_gb": head.all_features.nbytes / 1e9,
        "same_examples": f"{n_same} of {N_QUERY}",
    }


def large_badge(n: int) -> dict[str, object]:
    """BADGE where the gradient embeddings themselves would take n x 100 x 768 numbers."""
    head = Head(n, 768, 100)
    took = min(timed(ours, "badge", head)[0] for _ in range(2))
    chosen = {"ours": ours("badge", head)}
    return _row("badge", "ours", head, ours, {"ours": took}, chosen)


def installed(rivals: str) -> list[str]:
    if rivals:
        sys.path.append(rivals)
    present = []
    for library, (module, *_) in RIVALS.items():
        try:
            __import__(module)
            present.append(library)
        except ImportError as error:
            print(f"{library} left out: {error}; {INSTALL}")
    return present


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    quick = "3,000 examples, results are printed but not stored"
    parser.add_argument("--quick", action="store_true", help=quick)
    where = "folder of the other libraries (default: where Python finds them)"
    parser.add_argument("--rivals", default="", help=where)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    table = measure(3_000 if options.quick else 100_000, installed(options.rivals))
    table.append(large_badge(2_000 if options.quick else 20_000))
    # torch would blur the memory
    from common import report

    report("choosing", table, is_stored=not options.quick)
