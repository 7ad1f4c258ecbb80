"""New heads on labels that stored runs acquired: who learns, how groups count, when to stop.

Nothing is acquired here and no run is done: a head is fitted again, in milliseconds, on the rows
that a stored run had labelled after some round. Only runs of heads on frozen networks serve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from alpt_lib.acquisition import POOL
from alpt_lib.config import override, stream
from alpt_lib.errors import ConfigError
from alpt_lib.files import runs_folder
from alpt_lib.heads import LinearHead
from companion.report.estimates import RANDOM, RUN, last_rounds
from companion.report.quantities import brier_score, expected_calibration_error, overconfidence
from companion.runs.store import StoredRun
from companion.stopping import stops_at

if TYPE_CHECKING:
    from alpt_lib.datasets import Dataset
    from companion.report.study import Study

# a split's name to its (n, n_classes) probabilities
Predict = Callable[[str], np.ndarray]

FOLDS = 5
# pool examples whose predictions a stopping rule watches (Bloodgood and Vijay-Shanker 2009)
STOP_SET = 2000
# natural logarithms of the least and the greatest temperature that are tried
TEMPERATURES = (-3.0, 3.0)


def balanced(groups: np.ndarray) -> np.ndarray:
    """(n,) weights of mean 1 with which each group that is there counts as much as any other."""
    _, codes, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    return len(groups) / (len(sizes) * sizes[codes])


def tempered(probs: np.ndarray, temperature: float) -> np.ndarray:
    """(n, n_classes) the probabilities of logits divided by the temperature (Guo et al. 2017)."""
    with np.errstate(divide="ignore"):
        return softmax(np.log(probs) / temperature, axis=1)


def best_temperature(probs: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least cross-entropy (Guo et al. 2017, section 4.2).

    Args:
        probs: (n, n_classes) of examples that were not trained on. labels: (n,) int. Examples whose
            class has probability 0, for it was not trained, do not count.
    """
    can_count = probs[np.arange(len(labels)), labels] > 0
    probs = probs[can_count]
    labels = labels[can_count]

    def loss(log_temperature: float) -> float:
        scaled = tempered(probs, float(np.exp(log_temperature)))
        # so far from the truth that its probability rounds to 0
        return -np.log(np.maximum(scaled[np.arange(len(labels)), labels], 1e-300)).mean()

    return float(np.exp(minimize_scalar(loss, bounds=TEMPERATURES, method="bounded").x))


def cross_fitted_temperature(head: LinearHead, rows: np.ndarray) -> float:
    """`best_temperature` for heads each trained on four fifths of the labels, seen by the rest.

    Nothing but the acquired labels is used. They are not drawn as the evaluation's examples are, so
    this need not be the temperature that would calibrate there.
    """
    folds = stream(head.config.seed, "folds", len(rows)).permutation(len(rows)) % FOLDS
    probs = np.empty((len(rows), len(head.data.classes)))
    for fold in range(FOLDS):
        is_held_out = folds == fold
        head.fit(rows[~is_held_out], None)
        probs[is_held_out] = head.predict_probs(POOL, rows[is_held_out])
    return best_temperature(probs, head.labels[rows])


@dataclass(frozen=True)
class Acquired:
    """A stored run of a head, as far as it matters here.

    Args:
        columns: run columns. head: not trained. rows_after: of each round, (n_labelled,) int rows
            of the pool whose labels are known then. paid: of each round, labels asked for by then.
    """

    columns: dict[str, Any]
    head: LinearHead
    rows_after: list[np.ndarray]
    paid: list[int]

    def rounds(self, every: int) -> list[int]:
        """The first round, the last, and between them one for so many labels."""
        steps = [(n - self.paid[0]) // every for n in self.paid]
        new = [i for i, step in enumerate(steps) if i == 0 or step > steps[i - 1]]
        return sorted({*new, len(self.paid) - 1})


def acquired(study: Study) -> Iterator[Acquired]:
    """Every run of a head on a frozen network in a study; others are left out."""
    for run_id, table in study.acquisitions.groupby("run_id", sort=False):
        config = StoredRun.at(runs_folder() / str(run_id)).config
        if config.recipe.backbone != "frozen":
            continue
        columns = {name: table[name].iloc[0] for name in (*RUN, "run_id")}
        data = study.datasets[columns["dataset"]]
        pool = data.pool()
        rows_after = []
        paid = []
        # as stored, a round after the other; pandas would take longer to group than a head to fit
        begins = np.flatnonzero(np.diff(table["round"].to_numpy())) + 1
        for asked in np.split(table["index"].to_numpy(), begins):
            pool.acquire(asked)
            rows_after.append(pool.labelled)
            paid.append(len(pool))
        yield Acquired(columns, LinearHead(data, config), rows_after, paid)


def crossed(study: Study) -> pd.DataFrame:
    """Every network's head on the final set of every network: who chose x who learns.

    Args:
        study: with random sampling and one more acquisition function.
    Returns:
        columns of `Study.metrics`; `model` learns, `acquisition` names the model that chose, or
        random, whose sets are the same for all. `run_id` is that of the run that acquired the set.
    Raises:
        ConfigError: random sampling, with which all is compared, is not in the study.
    """
    if RANDOM not in set(study.acquisitions["acquisition"]):
        raise ConfigError("chosen sets are compared with random ones: add random to acquisitions")
    sets: dict[tuple[str, int], dict[str, Acquired]] = {}
    learners: dict[tuple[str, int], dict[str, LinearHead]] = {}
    for run in acquired(study):
        start = (run.columns["dataset"], run.columns["seed"])
        model = run.columns["model"]
        chooser = RANDOM if run.columns["acquisition"] == RANDOM else model
        sets.setdefault(start, {}).setdefault(chooser, run)
        learners.setdefault(start, {}).setdefault(model, run.head)
    records = []
    for start, heads in learners.items():
        for (model, head), (chooser, run) in product(heads.items(), sets[start].items()):
            head.fit(run.rows_after[-1], None)
            number = len(run.paid) - 1
            columns = {**run.columns, "model": model, "acquisition": chooser}
            columns |= {"round": number, "n_labels": run.paid[-1]}
            records += [{**columns, **row} for row in head.evaluate(number)]
    return pd.DataFrame(records)


def treated(study: Study, every: int) -> pd.DataFrame:
    """Heads on the same labels, treated after they were acquired: accuracies and calibration.

    plain: as in the run. class-balanced, group-balanced: each class, or subgroup, among the
    acquired labels counts the same (after Kirichenko et al. 2023, who retrain a last layer on
    equally many of each group; we weigh, for the labels are few). temperature: the plain head's
    probabilities, scaled by `cross_fitted_temperature`.

    Args:
        every: acquired labels between two rounds that are looked at.
    Returns:
        columns of `Study.metrics`, `head` and `l2`; further metrics are calibration_error (15
        bins), overconfidence, brier_score.
    """
    records = []
    for run in acquired(study):
        for number in run.rounds(every):
            for name, predict in _treatments(run.head, run.rows_after[number]):
                records += _records(run, number, name, run.head, predict)
    return pd.DataFrame(records)


def under_other_l2(study: Study, strengths: Sequence[float]) -> pd.DataFrame:
    """Plain heads on the final sets under other strengths of L2, as rows of `treated`."""
    records = []
    for run in acquired(study):
        for l2 in strengths:
            recipe = override(run.head.config.recipe, {"l2": l2}, "recipe")
            head = LinearHead(run.head.data, override(run.head.config, {"recipe": recipe}, "run"))
            head.fit(run.rows_after[-1], None)
            records += _records(run, len(run.paid) - 1, "another L2", head, head.predict_probs)
    return pd.DataFrame(records)


def _records(
    run: Acquired, number: int, name: str, head: LinearHead, predict: Predict
) -> list[dict[str, Any]]:
    """The metric rows of a head after a round."""
    columns = {**run.columns, "round": number, "n_labels": run.paid[number], "head": name}
    columns["l2"] = head.config.recipe.l2
    return [{**columns, **row} for row in _measured(head.data, predict)]


def _treatments(head: LinearHead, rows: np.ndarray) -> Iterator[tuple[str, Predict]]:
    """Each treatment and its probabilities of a split, valid until the next one is asked for."""
    importance = {
        "group-balanced": balanced(head.data.subgroup(POOL)[rows]),
        "class-balanced": balanced(head.labels[rows]),
    }
    for name, weights in importance.items():
        head.fit(rows, None, weights)
        yield name, head.predict_probs
    temperature = cross_fitted_temperature(head, rows)
    head.fit(rows, None)
    yield "plain", head.predict_probs
    yield "temperature", lambda split: tempered(head.predict_probs(split), temperature)


def _measured(data: Dataset, predict: Predict) -> list[dict[str, Any]]:
    """Metric rows: all accuracies, and calibration, on all evaluation splits."""
    rows = data.evaluate(predict)
    for split in data.eval_splits:
        labels = data.labels(split)
        probs = predict(split)
        said = {
            "calibration_error": expected_calibration_error(probs, labels),
            "overconfidence": overconfidence(probs, labels),
            "brier_score": brier_score(probs, labels),
        }
        common = {"split": split, "subgroup": "all", "n_examples": len(labels)}
        rows += [{**common, "metric": metric, "value": value} for metric, value in said.items()]
    return rows


def stopping_points(study: Study) -> pd.DataFrame:
    """Where `stops_at` would end each run of a head, looking at predictions on pool examples.

    The model of each round is compared with that of the round before, as the rule's authors do, on
    at most `STOP_SET` random rows of the pool.

    Returns:
        run columns and n_labels when it stops, NaN where it does not within the budget.
    """
    records = []
    for run in acquired(study):
        n_pool = len(run.head.labels)
        rows = stream(run.columns["seed"], "stop set").permutation(n_pool)[:STOP_SET]
        predictions: list[np.ndarray] = []
        stopped = np.nan
        for labelled, paid in zip(run.rows_after, run.paid, strict=True):
            run.head.fit(labelled, None)
            predictions.append(run.head.predict_probs(POOL, rows).argmax(axis=1))
            if stops_at(predictions) is not None:
                stopped = paid
                break
        records.append({**run.columns, "n_labels": stopped})
    return pd.DataFrame(records, columns=[*RUN, "run_id", "n_labels"])


def stopping_table(curves: pd.DataFrame, stops: pd.DataFrame) -> pd.DataFrame:
    """What stopping there would have saved and lost.

    Args:
        curves: as `Study.headline`. stops: as `stopping_points`.
    Returns:
        dataset, model, metric, acquisition, n_seeds, stopped (runs that the rule ends), labels_paid
        (their median), still_gained (what the metric gained afterwards, a mean over those runs).
    """
    by = ["dataset", "model", "metric", "acquisition"]
    curves = curves[curves["run_id"].isin(stops["run_id"])]
    there = curves.merge(stops[["run_id", "n_labels"]], on=["run_id", "n_labels"])
    last = last_rounds(curves).set_index(["run_id", "metric"])["value"]
    ends = last.reindex(pd.MultiIndex.from_frame(there[["run_id", "metric"]])).to_numpy()
    there = there.assign(still_gained=ends - there["value"])
    groups = there.groupby(by, sort=False)
    table = groups.agg(stopped=("seed", "size"), labels_paid=("n_labels", "median"))
    table = table.join(groups["still_gained"].mean())
    n_seeds = curves.groupby(by, sort=False)["seed"].nunique().rename("n_seeds")
    table = n_seeds.to_frame().join(table)
    return table.fillna({"stopped": 0}).astype({"stopped": int}).reset_index()
