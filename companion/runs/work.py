"""Do runs in this process: claim what nobody else is doing, resume it from its stored rounds.

Any number of processes, on any machines that share the store, may do so at once with the same plan.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from alpt_lib.config import Protocol, RunConfig, override
from alpt_lib.errors import DataError, StoreError
from alpt_lib.learners import RestorableLearner, create_learner
from alpt_lib.loop import Learner, active_learning
from companion.runs.store import StoredRun, start_fingerprint

# a run is given up after so many deaths of its process at the same round
CRASHES = 2
WAIT = 1.0  # s between two looks at runs that other processes are doing


def work(
    runs: list[StoredRun], since: float = 0.0, report: Callable[[int], None] = lambda n: None
) -> None:
    """Finish runs that nobody else is doing, until each is finished or has failed.

    Args:
        since: s; failures and deaths before it do not count (0: all do).
        report: told of work done, as `StoredRun.work_left` counts it.
    Raises:
        StoreError: the store cannot be written; the other runs could not be stored either.
    """
    pending = groups(runs)
    while pending:
        worked = [_work_on(group, since, report) for group in pending]
        pending = [group for group in pending if not all(is_settled(r, since) for r in group)]
        if pending and not any(worked):
            # others are at them; should one of these die, its run goes on here
            time.sleep(WAIT)


class WorkLeft:
    """What runs have left to do; a finished one is not looked at again."""

    def __init__(self, runs: list[StoredRun]):
        self._left = [(run, run.work_left()) for run in runs]

    def done_since(self) -> int:
        """What was done since the last look, as `StoredRun.work_left` counts it."""
        now = [(run, run.work_left()) for run, _ in self._left]
        done = sum(before - left for (_, before), (_, left) in zip(self._left, now, strict=True))
        self._left = [(run, left) for run, left in now if left]
        return done


def is_settled(run: StoredRun, since: float) -> bool:
    """Whether a run is finished, or failed after `since`."""
    return run.failure(since) is not None or run.is_done()


def groups(runs: list[StoredRun]) -> list[list[StoredRun]]:
    """Runs that share a seed-set fit stay together, in the order of their first."""
    by_seed_set: dict[RunConfig, list[StoredRun]] = {}
    for run in runs:
        by_seed_set.setdefault(before_queries(run.config), []).append(run)
    return list(by_seed_set.values())


def longest_first(runs: list[StoredRun]) -> list[StoredRun]:
    """The same runs, the groups that take longest first: workers then finish together."""

    def length(group: list[StoredRun]) -> int:
        return sum(r.lines_left() * r.config.recipe.max_steps for r in group)

    by_length = sorted(groups(runs), key=length, reverse=True)
    return [run for group in by_length for run in group]


def before_queries(config: RunConfig) -> RunConfig:
    """What decides the seed-set fit and its accuracies, the rest at its defaults."""
    own = config.protocol
    seed_set = Protocol(seed_set_size=own.seed_set_size, seed_set=own.seed_set)
    return override(config, {"acquisition": "random", "probe": (), "protocol": seed_set}, "run")


def shares_seed_set(config: RunConfig) -> bool:
    """Whether runs share a seed set's fit; released code's momentum comes from earlier ones."""
    return config.recipe.fidelity != "released"


def _work_on(group: list[StoredRun], since: float, report: Callable[[int], None]) -> bool:
    """Do what is free of a group; whether there was anything."""
    with _claimed([run for run in group if not is_settled(run, since)]) as ours:
        # another process may have finished them in the meantime
        todo = [run for run in ours if not is_settled(run, since)]
        if todo:
            do_group(todo, since, report)
        return bool(todo)


@contextmanager
def _claimed(runs: list[StoredRun]) -> Iterator[list[StoredRun]]:
    """Those runs that are ours now; two processes must not fit the same seed set."""
    with ExitStack() as stack:
        yield [run for run in runs if stack.enter_context(run.claim())]


def do_group(runs: list[StoredRun], since: float, report: Callable[[int], None]) -> None:
    """Do claimed runs that share a seed set; one that fails must not end the others."""
    if any(run.config.recipe.backbone != "frozen" for run in runs):
        import torch

        from alpt_lib.fast_layers import keep_freed_memory

        # the same sums, so the same tables, whatever the number of workers
        torch.set_num_threads(1)
        keep_freed_memory()
    network = None
    seed_set_fit: dict[str, Any] = {}
    for run in runs:
        if run.deaths(since) >= CRASHES:
            why = f"its process died {CRASHES} times at the same round"
            run.fail(f"{why} (killed, or out of memory)")
            continue
        try:
            with run.writing() as append:
                if network is None or not shares_seed_set(run.config):
                    network = _network(run)
                learner = _learner(run, network, seed_set_fit)
                pool = run.data.pool()
                for now in active_learning(learner, pool, run.config, run.rounds()):
                    append(now)
                    report(run.cost_of_a_round)
                if not run.is_done():
                    raise StoreError(
                        f"{run.folder} does not hold what was written to it: locks may not work on "
                        "this disk, so that two processes do one run; take --workers 1"
                    )
        except StoreError:
            raise
        except Exception:  # it is kept as the run's failure
            continue


def _network(run: StoredRun) -> RestorableLearner:
    network = create_learner(run.data, before_queries(run.config))
    if start_fingerprint(run.config, run.data) != run.identity["weights"]:
        raise DataError(
            f"the weights of {run.config.model} changed after the runs were planned: start the "
            "same command again"
        )
    return network


def _learner(run: StoredRun, network: RestorableLearner, seed_set_fit: dict) -> Learner:
    """The network, its seed-set fit shared with the other runs of its group; probed if asked to."""
    learner: Learner = network
    if shares_seed_set(run.config):
        learner = SharedSeedSet(network, run.config.protocol.seed_set_size, seed_set_fit)
    if run.config.probe:
        from companion.runs.probes import Probed

        learner = Probed(learner, run.data, run.config)
    return learner


class SharedSeedSet:
    """A learner that fits and evaluates a seed set once for all runs that have it in common.

    Args:
        size: of the seed set. kept: of the first run, filled for the others: weights, how the fit
            went, metric rows.
    """

    def __init__(self, network: RestorableLearner, size: int, kept: dict[str, Any]):
        self.network = network
        self.size = size
        self.kept = kept
        self.reset = network.reset
        self.replay = network.replay
        self.predict_probs = network.predict_probs
        self.features = network.features
        self.probs_of_features = network.probs_of_features

    def fit(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
        if len(rows) != self.size:
            return self.network.fit(rows, rng)
        if "fit" in self.kept:
            self.network.load(self.kept["weights"])
        else:
            self.kept["fit"] = self.network.fit(rows, rng)
            self.kept["weights"] = self.network.weights()
        return self.kept["fit"]

    def evaluate(self, number: int) -> list[dict[str, Any]]:
        if number != 0:
            return self.network.evaluate(number)
        if "metrics" not in self.kept:
            self.kept["metrics"] = self.network.evaluate(number)
        return self.kept["metrics"]
