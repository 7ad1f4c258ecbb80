"""A linear head on frozen features: its arithmetic; the loop does not know the difference."""

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from alpt_lib.config import Protocol, Recipe, RunConfig, frozen_recipe
from alpt_lib.datasets import CANNOT_TELL, read_dataset
from alpt_lib.errors import DataError
from alpt_lib.heads import LinearHead
from alpt_lib.learners import create_learner
from alpt_lib.loop import active_learning
from alpt_lib.scoring import ScoringNetwork

FROZEN = Recipe(backbone="frozen", l2=0.01)
PROTOCOL = Protocol(seed_set_size=6, budget=6, query_batch_size=2)


@pytest.fixture
def folder(tmp_path):
    """60 pool and 30 val rows of 5 features, three classes; the manifest mixes the splits."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    features = rng.normal(size=(90, 5)) + 2 * np.eye(3, 5)[labels]
    split = np.where(np.arange(90) % 3 == rng.integers(0, 3, 90), "val", "pool")
    manifest = pd.DataFrame({"label": np.array(["a", "b", "c"])[labels], "split": split})
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / "toy.npy", features)
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    described = {"classes": ["a", "b", "c"], "modality": "features"}
    (tmp_path / "dataset.yaml").write_text(yaml.safe_dump(described))
    return tmp_path


def config(folder, **changes):
    own = {"model": "features:toy", "acquisition": "least_confidence", "seed": 1}
    settings = {"dataset": str(folder), "protocol": PROTOCOL, "recipe": FROZEN}
    return RunConfig(**{**settings, **own, **changes})


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"]])
def test_its_probabilities_are_those_of_scikit_learn_on_the_same_features(folder, classes):
    data = read_dataset(folder)
    rows = np.flatnonzero(data.rows("pool")["label"].isin(classes))[:24]
    head = LinearHead(data, config(folder))
    head.fit(rows, np.random.default_rng(0))
    raw = np.load(folder / "features" / "toy.npy")
    frame = pd.read_csv(folder / "manifest.csv")
    pool, val = raw[frame.split == "pool"], raw[frame.split == "val"]
    centre = pool.mean(axis=0)
    norm = np.linalg.norm(pool - centre, axis=1).mean()
    reference = LogisticRegression(C=1 / (0.01 * len(rows)), tol=1e-12, max_iter=100_000)
    reference.fit((pool[rows] - centre) / norm, data.labels("pool")[rows])
    expected = np.zeros((len(val), 3))
    expected[:, reference.classes_] = reference.predict_proba((val - centre) / norm)
    np.testing.assert_allclose(head.predict_probs("val"), expected, atol=1e-6)


def test_a_row_that_counts_twice_counts_as_two(folder):
    data = read_dataset(folder)
    rows = np.arange(20)
    twice = data.labels("pool")[rows] == 1
    head = LinearHead(data, config(folder))
    importance = np.where(twice, 2.0, 1.0)
    head.fit(rows, None, importance / importance.mean())
    weighted = head.predict_probs("val")
    head.fit(np.concatenate([rows, rows[twice]]), None)
    np.testing.assert_allclose(weighted, head.predict_probs("val"), atol=1e-6)


def test_what_the_oracle_cannot_tell_is_paid_and_not_learned(folder):
    file = folder / "manifest.csv"
    truth = read_dataset(folder)
    frame = pd.read_csv(file)
    unsure = (frame["split"] == "pool") & (frame.index % 4 == 0)
    frame.assign(label=frame["label"].where(~unsure, CANNOT_TELL)).to_csv(file, index=False)
    data = read_dataset(folder)
    settings = config(folder, protocol=Protocol(seed_set_size=6, budget=30, query_batch_size=10))
    rounds = list(active_learning(create_learner(data, settings), data.pool(), settings))
    assert [now.n_labels for now in rounds] == [0, 6, 16, 26, 36]
    asked = np.array([row for now in rounds for row in now.asked])
    known = asked[data.labels("pool")[asked] >= 0]
    assert 6 < len(known) < len(asked) == len(set(asked))
    head = LinearHead(truth, settings)
    head.fit(known, None)
    assert rounds[-1].metrics == head.evaluate(3)


def test_with_one_class_labelled_it_expects_nothing_else(folder):
    data = read_dataset(folder)
    head = LinearHead(data, config(folder))
    log = head.fit(np.flatnonzero(data.labels("pool") == 2)[:3], np.random.default_rng(0))
    assert log["stopped_by"] == "one class"
    assert head.predict_probs("val").tolist() == [[0.0, 0.0, 1.0]] * len(data.rows("val"))


def test_the_loop_takes_it_as_any_learner_and_resumes_anywhere(folder):
    data = read_dataset(folder)
    settings = config(folder)
    whole = list(active_learning(create_learner(data, settings), data.pool(), settings))
    assert [now.n_labels for now in whole] == [0, 6, 8, 10, 12]
    for done in range(len(whole)):
        learner = create_learner(data, settings)
        rest = list(active_learning(learner, data.pool(), settings, whole[:done]))
        assert rest == whole[done:]


def test_features_of_a_network_are_its_own_before_the_head(birds_folder):
    data = read_dataset(birds_folder)
    settings = config(birds_folder, model="mini-bit-m")
    head = create_learner(data, settings)
    raw = ScoringNetwork(data, settings).features("pool")
    centred = raw.astype(float) - raw.mean(axis=0, dtype=float)
    norm = np.linalg.norm(centred, axis=1).mean()
    np.testing.assert_allclose(head.features("pool"), centred / norm, atol=1e-12)


def test_settings_of_fine_tuning_are_no_part_of_a_frozen_recipe():
    recipe = frozen_recipe(Recipe(lr=0.5, max_steps=7, l2=0.1, crop=32, resize=40))
    assert recipe == Recipe(backbone="frozen", l2=0.1, crop=32, resize=40)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda features: features[:-1], "must hold 90 rows of floats"),
        (lambda features: features.astype(int), "it is int64 of shape"),
        (lambda features: features.astype(object), "cannot be read as an array of numbers"),
        (lambda features: np.where(np.arange(90)[:, None] == 7, np.nan, features), "first row 7"),
        (lambda features: np.where(np.arange(90)[:, None] == 8, np.inf, features), "first row 8"),
    ],
)
def test_features_that_cannot_be_right_are_refused_by_row(folder, spoil, says):
    file = folder / "features" / "toy.npy"
    np.save(file, spoil(np.load(file)), allow_pickle=True)
    data = read_dataset(folder)
    with pytest.raises(DataError, match=says):
        _ = [data.features("toy", split) for split in ("pool", "val")]
