"""Heads on frozen networks: the real Waterbirds whole, a large head, a large pool, embedding.

    python benchmarks/frozen.py [--quick] [--threads 1]

- protocol: all rounds of the paper's protocol on the embedded Waterbirds, 16 seeds and both arms,
  one after the other in one process, stored and flushed to the disk (wall time, and CPU time).
- head: the solver of ours beside L-BFGS of PyTorch, to the same tolerance.
- pool: one round on 1,000,000 stored examples of 64 features: probabilities, scores, the best 20.
- embedding: features of pictures from the network, beside its bare forward pass in memory.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from common import best, computing, mini, options, os, photos, report

from alpt_lib.acquisition import POOL, Candidates, choose
from alpt_lib.config import Recipe, RunConfig, frozen_recipe
from alpt_lib.datasets import read_dataset
from alpt_lib.fast_layers import keep_freed_memory
from alpt_lib.files import cache_folder
from alpt_lib.heads import LinearHead, frozen_features
from alpt_lib.scoring import ScoringNetwork
from companion.runs.plan import plan_runs
from companion.runs.work import work

MODEL = "timm:tf_efficientnet_lite0-np"


def protocol(n_seeds: int) -> dict:
    folder = mini("real_waterbirds")
    seeds = list(range(1, 10 * n_seeds, 10))
    planned = plan_runs({"datasets": [str(folder)], "models": ["lite0"], "seeds": seeds})
    runs = [each.run for each in planned]
    started = time.perf_counter()
    cpu = time.process_time()
    work(runs)
    n_rounds = sum(run.n_stored() for run in runs)
    what = f"protocol: {len(runs)} runs, {n_rounds} rounds"
    return {"what": what, "s": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}


def features_dataset(folder: Path, features: np.ndarray, labels: np.ndarray, n_val: int) -> Path:
    """A dataset of features, the last rows to evaluate on."""
    (folder / "features").mkdir(parents=True)
    np.save(folder / "features" / "made.npy", features)
    splits = [POOL] * (len(features) - n_val) + ["val"] * n_val
    names = pd.Series(labels).astype(str)
    pd.DataFrame({"label": names, "split": splits}).to_parquet(folder / "manifest.parquet")
    described = {
        "name": folder.name,
        "classes": sorted(names.unique(), key=int),
        "modality": "features",
        "default_model": "made",
        "recipe": {"backbone": "frozen"},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    return folder


def head_of(folder: Path) -> LinearHead:
    config = RunConfig(str(folder), "features:made", "random", 1, recipe=frozen_recipe(Recipe()))
    return LinearHead(read_dataset(folder), config)


def head(folder: Path, n_labels: int, n_classes: int, n_features: int, repeats: int) -> dict:
    """Classes that overlap, as features of photographs do."""
    rng = np.random.default_rng(0)
    labels = np.arange(n_labels) % n_classes
    centres = rng.normal(size=(n_classes, n_features))
    features = (centres[labels] + 2 * rng.normal(size=(n_labels, n_features))).astype(np.float32)
    ours = head_of(features_dataset(folder, features, labels, n_classes))
    rows = np.arange(n_labels - n_classes)
    inputs = torch.as_tensor(ours.features(POOL, rows))
    targets = torch.as_tensor(labels[: len(rows)])

    def by_torch() -> None:
        linear = torch.nn.Linear(n_features, n_classes, dtype=torch.float64)
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
        solver = torch.optim.LBFGS(
            linear.parameters(), max_iter=5000, tolerance_grad=1e-8, line_search_fn="strong_wolfe"
        )

        def loss() -> torch.Tensor:
            solver.zero_grad()
            value = torch.nn.functional.cross_entropy(linear(inputs), targets)
            value = value + ours.config.recipe.l2 / 2 * (linear.weight**2).sum()
            value.backward()
            return value

        solver.step(loss)

    least = best(repeats, computing(), s=lambda: ours.fit(rows, None), torch_s=by_torch)
    return {"what": f"head: {n_classes} classes, {len(rows)} labels, {n_features} dims", **least}


def pool(folder: Path, n: int, n_features: int, repeats: int) -> dict:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(n, n_features)).astype(np.float16)
    labels = (features[:, 0] > 0).astype(int)
    learner = head_of(features_dataset(folder, features, labels, 2))
    labelled = np.arange(200)
    learner.fit(labelled, None)
    rows = np.arange(200, n - 2)

    def one_round() -> None:
        candidates = Candidates(learner, rows, labelled, labels[labelled])
        choose("least_confidence", candidates, 20, np.random.default_rng(1), "paper")

    return {
        "what": f"pool: {n:,} x {n_features}, one round",
        **best(repeats, computing(), s=one_round),
    }


def embedding(folder: Path, n: int, size: int, repeats: int) -> dict:
    data = read_dataset(photos(n, 2, size, folder))
    config = RunConfig(str(folder), MODEL, "random", 1, recipe=frozen_recipe(Recipe()))
    network = ScoringNetwork(data, config)
    network.start_scoring()
    batch = network.inputs(POOL).batch(np.arange(n), network.device)
    ready = batch.split(16)

    def bare() -> None:
        with torch.inference_mode():
            for part in ready:
                network.model.features(part)

    def ours() -> None:
        for file in cache_folder().glob("*_frozen_*"):
            file.unlink()
        frozen_features(data, config, POOL)

    least = best(repeats, computing(), s=ours, bare_s=bare)
    what = f"embedding: Lite0, {n} pictures of {size} px"
    return {"what": what, **least, "of_bare": least["bare_s"] / least["s"]}


if __name__ == "__main__":
    chosen = options(__doc__)
    keep_freed_memory()
    few = chosen.quick
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ALPT_HOME"] = folder
        place = Path(folder)
        table = [
            protocol(1 if few else 16),
            head(place / "two", 240 if few else 362, 2, 64, 3),
            head(place / "many", 60 if few else 1820, 6 if few else 182, 32 if few else 2048, 1),
            pool(place / "pool", 20_000 if few else 1_000_000, 64, 3),
            embedding(place / "photos", 32 if few else 2048, 128, 1 if few else 3),
        ]
    report("frozen", table, is_stored=not chosen.quick)
