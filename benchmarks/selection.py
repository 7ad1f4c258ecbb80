"""The top 20 of a million pool examples with 182 classes: ours against scikit-activeml, modAL and small-text.

    python benchmarks/selection.py [--quick] [--rivals FOLDER]

FOLDER holds the other libraries: pip install --target FOLDER scikit-activeml modAL-python small-text. Each is called as its
documentation says, on probabilities that are already there; all must give our scores (to rounding) and query examples of the
same scores. Memory is what a call needs beyond the probabilities, measured in a forked process.
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

from alpt_lib.acquisition import ACQUISITION_FUNCTIONS, select

N_QUERY = 20
Ranked = tuple[np.ndarray, np.ndarray]  # positions, their scores as the library defines them


def ours(name: str, probs: np.ndarray) -> Ranked:
    rng = np.random.default_rng(1)
    scores = ACQUISITION_FUNCTIONS[name](probs, rng)
    best = select(scores, N_QUERY, rng)
    return best, scores[best]


def scikit_activeml(name: str, probs: np.ndarray) -> Ranked:
    from skactiveml.pool import uncertainty_scores
    from skactiveml.utils import simple_batch

    method = {
        "least_confidence": "least_confident",
        "margin": "margin_sampling",
        "entropy": "entropy",
    }[name]
    scores = uncertainty_scores(probs, method=method)
    best = simple_batch(scores.copy(), random_state=1, batch_size=N_QUERY)
    return best, scores[best] - (name != "entropy")  # 1 - max p, 1 - margin


def modal(name: str, probs: np.ndarray) -> Ranked:
    from modAL.uncertainty import entropy_sampling, margin_sampling, uncertainty_sampling

    sampling = {
        "least_confidence": uncertainty_sampling,
        "margin": margin_sampling,
        "entropy": entropy_sampling,
    }[name]
    best, scores = sampling(
        SimpleNamespace(predict_proba=lambda _: probs),
        probs,
        n_instances=N_QUERY,
        random_tie_break=True,
    )
    return best, {"least_confidence": scores - 1, "margin": -np.abs(scores), "entropy": scores}[
        name
    ]


def small_text(name: str, probs: np.ndarray) -> Ranked:
    from small_text.query_strategies import strategies

    strategy = {
        "least_confidence": strategies.LeastConfidence,
        "margin": strategies.BreakingTies,
        "entropy": strategies.PredictionEntropy,
    }[name]()
    best = strategy.query(
        SimpleNamespace(predict_proba=lambda _: probs),
        probs,
        np.arange(len(probs)),
        np.empty(0, int),
        None,
        n=N_QUERY,
    )
    return best, -strategy.scores_[best] if name != "entropy" else strategy.scores_[best]


LIBRARIES: dict[str, Callable[[str, np.ndarray], Ranked]] = {
    "ours": ours,
    "scikit-activeml": scikit_activeml,
    "modAL": modal,
    "small-text": small_text,
}


def probabilities(n: int, n_classes: int) -> np.ndarray:
    """(n, n_classes) float32: softmax of random logits, made in parts."""
    rng, probs = np.random.default_rng(0), np.empty((n, n_classes), dtype=np.float32)
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
    for name in ACQUISITION_FUNCTIONS:
        times: dict[str, list[float]] = {}
        queried = {}
        for _ in range(2):
            for library in libraries if name != "random" else ["ours"]:
                took, queried[library] = timed(LIBRARIES[library], name, probs)
                times.setdefault(library, []).append(took)
        wanted = np.sort(queried["ours"][1])
        for library in times:
            np.testing.assert_allclose(np.sort(queried[library][1]), wanted, rtol=1e-4, atol=1e-6)
            same = len(set(queried[library][0].tolist()) & set(queried["ours"][0].tolist()))
            rows.append(
                {
                    "n": n,
                    "acquisition": name,
                    "library": library,
                    "seconds": min(times[library]),
                    "times_ours": min(times[library]) / min(times["ours"]),
                    "peak_gb": memory(LIBRARIES[library], name, probs),
                    "probs_gb": probs.nbytes / 1e9,
                    "same_examples": f"{same} of {N_QUERY}",
                }
            )
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="20,000 examples, results are printed but not stored"
    )
    parser.add_argument(
        "--rivals",
        default="",
        help="folder of the other libraries (default: where Python finds them)",
    )
    chosen = parser.parse_args()
    sys.path += [chosen.rivals] if chosen.rivals else []
    present = []
    for library, module in zip(
        LIBRARIES, ("numpy", "skactiveml", "modAL", "small_text"), strict=True
    ):
        try:
            __import__(module)
            present.append(library)
        except ImportError as error:
            print(
                f"{library} left out: {error}; pip install --target FOLDER scikit-activeml modAL-python small-text"
            )
    # small-text calls Python for each example: it is compared on 5,000
    table = measure(
        20_000 if chosen.quick else 1_000_000,
        182,
        [name for name in present if name != "small-text"],
    )
    if "small-text" in present:
        table += measure(5_000, 182, ["ours", "small-text"])
    from common import report  # torch would blur the memory

    report("selection", table, store=not chosen.quick)
