"""The top 20 of a million pool examples with 182 classes: ours against three other libraries.

    python benchmarks/selection.py [--quick] [--rivals FOLDER]

FOLDER holds them: pip install --target FOLDER scikit-activeml modAL-python small-text. Each is
called as its documentation says, on probabilities that are already there; all must give our scores
(to rounding) and query examples of the same scores. Memory is what a call needs beyond the
probabilities, measured in a forked process.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from alpt_lib.acquisition import ACQUISITION_FUNCTIONS, Candidates, select

N_QUERY = 20
NAMES = ("random", "least_confidence", "entropy", "margin")
INSTALL = "pip install --target FOLDER scikit-activeml modAL-python small-text"
Ranked = tuple[np.ndarray, np.ndarray]  # positions, their scores as the library defines them


def ours(name: str, probs: np.ndarray) -> Ranked:
    rng = np.random.default_rng(1)
    learner = SimpleNamespace(predict_probs=lambda split, rows: probs)
    nothing = np.empty(0, dtype=int)
    candidates = Candidates(learner, np.arange(len(probs)), nothing, nothing)
    scores = ACQUISITION_FUNCTIONS[name](candidates, rng)
    best = select(scores, N_QUERY, rng)
    return best, scores[best]


def scikit_activeml(name: str, probs: np.ndarray) -> Ranked:
    from skactiveml.pool import uncertainty_scores
    from skactiveml.utils import simple_batch

    methods = {"least_confidence": "least_confident", "margin": "margin_sampling"}
    scores = uncertainty_scores(probs, method=methods.get(name, name))
    best = simple_batch(scores.copy(), random_state=1, batch_size=N_QUERY)
    # 1 - max p, 1 - margin
    return best, scores[best] - (name != "entropy")


def modal(name: str, probs: np.ndarray) -> Ranked:
    from modAL.uncertainty import entropy_sampling, margin_sampling, uncertainty_sampling

    sampling = {
        "least_confidence": uncertainty_sampling,
        "margin": margin_sampling,
        "entropy": entropy_sampling,
    }
    known = SimpleNamespace(predict_proba=lambda _: probs)
    best, scores = sampling[name](known, probs, n_instances=N_QUERY, random_tie_break=True)
    as_ours = {"least_confidence": scores - 1, "margin": -np.abs(scores), "entropy": scores}
    return best, as_ours[name]


def small_text(name: str, probs: np.ndarray) -> Ranked:
    from small_text.query_strategies import strategies

    kinds = {
        "least_confidence": strategies.LeastConfidence,
        "margin": strategies.BreakingTies,
        "entropy": strategies.PredictionEntropy,
    }
    strategy = kinds[name]()
    known = SimpleNamespace(predict_proba=lambda _: probs)
    rows = np.arange(len(probs))
    best = strategy.query(known, probs, rows, np.empty(0, int), None, n=N_QUERY)
    scores = strategy.scores_[best]
    return best, scores if name == "entropy" else -scores


# name -> its module and what asks it
LIBRARIES: dict[str, tuple[str, Callable[[str, np.ndarray], Ranked]]] = {
    "ours": ("numpy", ours),
    "scikit-activeml": ("skactiveml", scikit_activeml),
    "modAL": ("modAL", modal),
    "small-text": ("small_text", small_text),
}


def probabilities(n: int, n_classes: int) -> np.ndarray:
    """(n, n_classes) float32: softmax of random logits, made in parts."""
    rng = np.random.default_rng(0)
    probs = np.empty((n, n_classes), dtype=np.float32)
    for part in np.array_split(probs, max(n // 10_000, 1)):
        np.exp(3 * rng.standard_normal(part.shape, dtype=np.float32), out=part)
        part /= part.sum(axis=1, keepdims=True)
    return probs


def memory(call: Callable, *arguments) -> float:
    """GB that a call needs at its peak beyond what the process holds before it."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)

    def child() -> None:
        before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        call(*arguments)
        send.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)

    process = context.Process(target=child)
    process.start()
    process.join()
    return receive.recv() / 1e9


def timed(call: Callable, *arguments) -> tuple[float, Ranked]:
    started = time.perf_counter()
    result = call(*arguments)
    return time.perf_counter() - started, result


def measure(n: int, n_classes: int, libraries: list[str]) -> list[dict]:
    """One row per acquisition function and library: s, GB, and how many times ours the time is."""
    probs = probabilities(n, n_classes)
    rows = []
    for name in NAMES:
        asked = libraries if name != "random" else ["ours"]
        least = dict.fromkeys(asked, np.inf)
        ranked: dict[str, Ranked] = {}
        for _ in range(2):
            for library in asked:
                took, ranked[library] = timed(LIBRARIES[library][1], name, probs)
                least[library] = min(least[library], took)
        rows += [compared(name, library, probs, least, ranked) for library in asked]
    return rows


def compared(
    name: str, library: str, probs: np.ndarray, least: dict[str, float], ranked: dict[str, Ranked]
) -> dict:
    """A row; an error if a library's scores are not ours."""
    best, scores = ranked["ours"]
    its_best, its_scores = ranked[library]
    np.testing.assert_allclose(np.sort(its_scores), np.sort(scores), rtol=1e-4, atol=1e-6)
    n_same = len(set(its_best.tolist()) & set(best.tolist()))
    return {
        "n": len(probs),
        "acquisition": name,
        "library": library,
        "seconds": least[library],
        "times_ours": least[library] / least["ours"],
        "peak_gb": memory(LIBRARIES[library][1], name, probs),
        "probs_gb": probs.nbytes / 1e9,
        "same_examples": f"{n_same} of {N_QUERY}",
    }


def installed_libraries() -> list[str]:
    present = []
    for library, (module, _) in LIBRARIES.items():
        try:
            __import__(module)
            present.append(library)
        except ImportError as error:
            print(f"{library} left out: {error}; {INSTALL}")
    return present


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    quick = "20,000 examples, results are printed but not stored"
    parser.add_argument("--quick", action="store_true", help=quick)
    where = "folder of the other libraries (default: where Python finds them)"
    parser.add_argument("--rivals", default="", help=where)
    chosen = parser.parse_args()
    if chosen.rivals:
        sys.path.append(chosen.rivals)
    present = installed_libraries()
    # small-text calls Python for each example: it is compared on 5,000
    large = [name for name in present if name != "small-text"]
    table = measure(20_000 if chosen.quick else 1_000_000, 182, large)
    if "small-text" in present:
        table += measure(5_000, 182, ["ours", "small-text"])
    # torch would blur the memory
    from common import report

    report("selection", table, is_stored=not chosen.quick)
