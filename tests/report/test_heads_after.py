"""Heads fitted again on acquired labels, against scikit-learn, stored runs and brute force."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from alpt_lib.errors import ConfigError
from alpt_lib.heads import LinearHead
from companion.report import heads_after, oracles
from companion.report.estimates import last_rounds
from companion.report.study import Study, run_study
from companion.stopping import stops_at

L2 = 0.01
SEEDS = [1, 2]


@pytest.fixture
def study(tmp_path) -> Study:
    """Random and least confidence, two networks' features, two seeds, 8 labels and 12 more by 3."""
    rng = np.random.default_rng(0)
    label = np.arange(360) % 2
    split = np.where(np.arange(360) < 240, "pool", "val")
    matched = rng.random(360) < np.where(split == "pool", 0.9, 0.5)
    background = np.where(matched, label, 1 - label)
    frame = pd.DataFrame({"label": np.array(["a", "b"])[label], "split": split})
    frame["background"] = np.array(["red", "green"])[background]
    (tmp_path / "features").mkdir()
    for name, clear in (("good", 1.0), ("poor-np", 0.1)):
        causes = np.stack([clear * (2 * label - 1), 2.0 * background - 1], axis=1)
        noisy = np.concatenate([causes, np.zeros((360, 3))], axis=1) + rng.normal(size=(360, 5))
        np.save(tmp_path / "features" / f"{name}.npy", noisy)
    frame.to_csv(tmp_path / "manifest.csv", index=False)
    described = {
        "name": "toy",
        "classes": ["a", "b"],
        "subgroups": ["label", "background"],
        "minority": ["a/green", "b/red"],
        "modality": "features",
        "default_model": "good",
        "protocol": {"seed_set_size": 8, "budget": 12, "query_batch_size": 3},
        "recipe": {"l2": L2},
    }
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(described))
    given = {"datasets": [str(tmp_path)], "models": ["all"], "seeds": SEEDS, "workers": 1}
    return run_study("13_choosing_or_learning", given)


def rows_of(study: Study, model: str, acquisition: str, seed: int, last: int = 4) -> np.ndarray:
    asked = study.acquisitions.query(f"model == '{model}' and acquisition == '{acquisition}'")
    return asked.query(f"seed == {seed} and round <= {last}")["index"].to_numpy()


def reference(study: Study, model: str, rows: np.ndarray, weight=None, l2=L2) -> np.ndarray:
    """(n_val, 2) probabilities of scikit-learn's own fit, from the files."""
    data = study.datasets["toy"]
    raw = np.load(data.folder / "features" / f"{model}.npy")
    pool, val = raw[:240], raw[240:]
    centre = pool.mean(axis=0)
    norm = np.linalg.norm(pool - centre, axis=1).mean()
    solver = LogisticRegression(C=1 / (l2 * len(rows)), tol=1e-12, max_iter=100_000)
    solver.fit((pool[rows] - centre) / norm, data.labels("pool")[rows], weight)
    return solver.predict_proba((val - centre) / norm)


def value(table: pd.DataFrame, **where) -> float:
    for column, wanted in {"subgroup": "all", **where}.items():
        table = table[table[column] == wanted]
    return table["value"].item()


def test_all_models_are_those_of_the_features_and_the_pretrained_come_first(study):
    assert study.runs["model"].unique().tolist() == ["good", "poor-np"]


def test_who_chose_and_who_learns_part(study):
    crossed = heads_after.crossed(study)
    assert len(crossed.groupby(["model", "acquisition", "seed"])) == 2 * 3 * len(SEEDS)
    labels = study.datasets["toy"].labels("val")
    for seed in SEEDS:
        rows = rows_of(study, "good", "least_confidence", seed)
        expected = (reference(study, "poor-np", rows).argmax(axis=1) == labels).mean()
        got = value(crossed, model="poor-np", acquisition="good", seed=seed, metric="accuracy")
        assert got == pytest.approx(expected)


def test_without_random_sets_there_is_nothing_to_compare_with(study):
    study.acquisitions = study.acquisitions.query("acquisition != 'random'")
    with pytest.raises(ConfigError, match="add random to acquisitions"):
        heads_after.crossed(study)


def test_a_learner_of_its_own_choice_or_of_random_sets_is_the_stored_run(study):
    crossed = heads_after.crossed(study)
    stored = last_rounds(study.metrics)
    key = ["seed", "metric", "subgroup"]
    for model in ("good", "poor-np"):
        for chooser, arm in ((model, "least_confidence"), ("random", "random")):
            ours = crossed[(crossed["model"] == model) & (crossed["acquisition"] == chooser)]
            theirs = stored[(stored["model"] == model) & (stored["acquisition"] == arm)]
            assert (
                ours.set_index(key)["value"].to_dict() == theirs.set_index(key)["value"].to_dict()
            )


@pytest.mark.parametrize("head", ["plain", "class-balanced", "group-balanced", "another L2"])
def test_a_treated_head_is_scikit_learn_s_with_balanced_weights(study, head):
    frames = [heads_after.treated(study, 6), heads_after.under_other_l2(study, [0.1])]
    table = pd.concat(frames).query(f"head == '{head}'")
    data = study.datasets["toy"]
    labels = data.labels("val")
    rounds = [4] if head == "another L2" else [0, 2, 4]
    assert sorted(table["round"].unique()) == rounds
    for last in rounds:
        rows = rows_of(study, "good", "least_confidence", 1, last)
        groups = {
            "class-balanced": data.labels("pool")[rows],
            "group-balanced": data.subgroup("pool")[rows].astype(str),
        }.get(head, np.zeros(len(rows)))
        weight = compute_sample_weight("balanced", groups)
        l2 = 0.1 if head == "another L2" else L2
        probs = reference(study, "good", rows, weight, l2)
        run = {"model": "good", "acquisition": "least_confidence", "seed": 1, "round": last}
        correct = pd.Series(probs.argmax(axis=1) == labels)
        worst = correct.groupby(data.subgroup("val")).mean().min()
        assert value(table, metric="accuracy_worst_group", **run) == pytest.approx(worst)
        off = np.mean([2 * (1 - probs[i, label]) ** 2 for i, label in enumerate(labels)])
        assert value(table, metric="brier_score", **run) == pytest.approx(off, abs=1e-5)


def test_a_temperature_changes_no_prediction_and_uses_no_evaluation_label(study):
    before = heads_after.treated(study, 12)
    accuracy = before[(before["metric"] == "accuracy") & (before["subgroup"] == "all")]
    arms = accuracy.pivot_table(index=["run_id", "round"], columns="head", values="value")
    assert arms["plain"].equals(arms["temperature"].rename("plain"))
    data = study.datasets["toy"]
    run = next(heads_after.acquired(study))
    rows = run.rows_after[-1]
    temperature = heads_after.cross_fitted_temperature(run.head, rows)
    data.labels("val")[:] = 0
    assert heads_after.cross_fitted_temperature(run.head, rows) == temperature


def test_the_best_temperature_is_the_one_that_a_grid_finds_and_that_made_the_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3)) * 2
    true = np.exp(logits / 2.5)
    true /= true.sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > rng.random((len(true), 1))).argmax(axis=1)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = heads_after.best_temperature(probs, labels)

    def loss(temperature: float) -> float:
        scaled = heads_after.tempered(probs, temperature)
        return -np.log(scaled[np.arange(len(labels)), labels]).mean()

    grid = np.arange(1, 5, 0.01)
    assert found == pytest.approx(grid[np.argmin([loss(t) for t in grid])], abs=0.01)
    assert found == pytest.approx(2.5, abs=0.1)
    np.testing.assert_allclose(heads_after.tempered(true, 1 / 2.5), probs)


def test_a_class_without_probability_does_not_count_for_a_temperature():
    probs = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]] * 5)
    labels = np.array([0, 1, 0, 0, 0, 1, 0, 1, 1, 1])
    with_unknown = np.concatenate([labels, [2]])
    more = np.concatenate([probs, [[0.5, 0.5, 0.0]]])
    alone = heads_after.best_temperature(probs, labels)
    assert heads_after.best_temperature(more, with_unknown) == pytest.approx(alone)
    assert np.isfinite(heads_after.tempered(more, 3.0)).all()


def test_a_run_ends_where_all_its_models_say_so(study, monkeypatch):
    # a rule so weak that it ends toy runs
    def weak(predictions):
        return stops_at(predictions, threshold=0.9, window=1)

    monkeypatch.setattr(heads_after, "stops_at", weak)
    points = heads_after.stopping_points(study).set_index("run_id")["n_labels"]
    expected = {}
    for run in heads_after.acquired(study):
        head = LinearHead(run.head.data, run.head.config)
        predictions = []
        for rows in run.rows_after:
            head.fit(rows, None)
            predictions.append(head.predict_probs("pool").argmax(axis=1))
        at = weak(predictions)
        expected[run.columns["run_id"]] = np.nan if at is None else run.paid[at]
    pd.testing.assert_series_equal(points, pd.Series(expected), check_names=False)
    assert points.notna().sum() > 0


def test_what_stopping_saves_and_loses():
    run = {"dataset": "toy", "model": "net", "metric": "accuracy", "acquisition": "random"}
    curves = pd.DataFrame(
        [
            {**run, "seed": seed, "run_id": str(seed), "round": n, "n_labels": 10 * n, "value": v}
            for seed, values in ((1, (0.5, 0.7, 0.8)), (2, (0.5, 0.6, 0.6)), (3, (0.5, 0.5, 0.9)))
            for n, v in enumerate(values)
        ]
    )
    stops = pd.DataFrame({"run_id": ["1", "2", "3"], "n_labels": [10, 20, np.nan]})
    (row,) = heads_after.stopping_table(curves, stops).to_dict("records")
    # the first would have gained 0.1 more, the second nothing
    assert (row["n_seeds"], row["stopped"], row["labels_paid"]) == (3, 2, 15)
    assert row["still_gained"] == pytest.approx(0.05)
    none = heads_after.stopping_table(curves, stops.assign(n_labels=np.nan))
    assert none["stopped"].tolist() == [0]


def described(kind: str = "", level: int = 0, where: str = "", rare: float = 0.05, of: str = "toy"):
    generator = {"of": of, "kind": kind, "level": level, "where": where} if kind else {}
    return SimpleNamespace(
        description=SimpleNamespace(generator=generator),
        minority=["a/y"],
        pool_shares=pd.Series({"a/x": 1 - rare, "a/y": rare}),
    )


def test_the_unchanged_dataset_stands_at_the_start_of_what_can_be_wrong():
    datasets = {
        "toy": described(),
        "toy_wrong_20": described("wrong", 20),
        "toy_copies_4": described("copies", 4),
        "toy_matched_98": described("matched", 98, rare=0.0201),
        "other": described(),
        "other_wrong_30": described("wrong", 30, of="other"),
    }
    table = oracles.conditions(SimpleNamespace(datasets=datasets))
    other = table[table["source"] == "other"]
    assert other.drop(columns="source").to_numpy().tolist() == [
        ["other_wrong_30", "wrong labels (%)", 30],
        ["other", "wrong labels (%)", 0],
    ]
    toys = table[table["source"] == "toy"]
    points = {(row.panel, row.level): row.dataset for row in toys.itertuples()}
    assert points == {
        ("wrong labels (%)", 20): "toy_wrong_20",
        ("wrong labels (%)", 0): "toy",
        ("disambiguating in the pool (%)", 2.0): "toy_matched_98",
        ("copies of each example", 4): "toy_copies_4",
        ("copies of each example", 1): "toy",
    }
    alone = oracles.conditions(SimpleNamespace(datasets={"toy": described()}))
    assert alone.to_numpy().tolist() == [["toy", "toy", oracles.UNCHANGED, 0]]


def test_a_target_costs_what_the_mean_curve_needs_for_random_s_end_on_the_unchanged_dataset():
    curves = {
        ("toy", "random"): (0.5, 0.6, 0.7),
        ("toy", "least_confidence"): (0.5, 0.7, 0.8),
        ("toy_wrong_20", "random"): (0.4, 0.5, 0.6),
        ("toy_wrong_20", "least_confidence"): (0.4, 0.6, 0.8),
    }
    rows = [
        {"dataset": d, "acquisition": a, "seed": s, "n_labels": 10 * n, "value": v + shift}
        for (d, a), values in curves.items()
        for s, shift in ((1, -0.1), (2, 0.1))
        for n, v in enumerate(values, start=1)
    ]
    rising = pd.DataFrame(rows).assign(metric="accuracy")
    falling = rising.assign(metric="accuracy_minority", value=1 - rising["value"])
    source = {"toy": "toy", "toy_wrong_20": "toy", "other": "other"}
    # another dataset has its own target
    other = rising[rising["dataset"] == "toy_wrong_20"].assign(dataset="other")
    table = oracles.label_costs(pd.concat([rising, falling, other]), source)
    assert table[table["dataset"] == "other"]["target"].unique() == pytest.approx([0.6])
    table = table[table["dataset"] != "other"]
    assert table["target"].unique() == pytest.approx([0.7])
    assert table["labels_paid"].tolist() == pytest.approx([30, 20, np.nan, 25], nan_ok=True)
