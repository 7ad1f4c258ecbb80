"""Runs as tasks of a Ray cluster: two real nodes on this machine, one of which is killed in the middle."""

import importlib.util
import os
import subprocess
import sys
import threading
import time

import pytest

from alpt_lib.config import RunConfig
from alpt_lib.errors import ConfigError
from alpt_lib.files import REPOSITORY
from companion.runs import execute, plan, store
from companion.runs.execute import execute
from companion.runs.parameters import DEFAULTS
from companion.runs.plan import plan_runs

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)


def plan(folder, n_seeds: int, budget: int = 12) -> list[RunConfig]:
    parameters = {
        **DEFAULTS,
        "datasets": [str(folder)],
        "models": ["bit-m-np"],
        "seeds": list(range(n_seeds)),
        "acquisitions": ["least_confidence"],
        "protocol": {"budget": budget, "query_batch_size": 1},
        "recipe": {"max_steps": 6},
    }
    return [planned.config for planned in plan_runs(parameters)]


@pytest.fixture
def cluster(home, monkeypatch):
    """A cluster of a head without cores and two nodes with one each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    for library in ("OMP", "OPENBLAS"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "1")
    small = {"object_store_memory": 80 << 20}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    nodes.spot = nodes.add_node(num_cpus=1, **small)
    nodes.add_node(num_cpus=1, **small)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@needs_ray
def test_all_runs_finish_though_a_node_vanishes_and_gpus_that_are_not_there_are_refused(
    birds_folder, cluster, home, tmp_path, monkeypatch
):
    runs = plan(birds_folder, n_seeds=4, budget=16)
    at_work = lambda: [c for c in runs if len(store.read(c)) >= 2 and not store.is_done(c)]  # noqa: E731

    def kill_a_node_once_both_are_at_work() -> None:
        deadline = time.monotonic() + 120
        while len(at_work()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        killed_at.append(len(at_work()))
        cluster.remove_node(cluster.spot, allow_graceful=False)

    killed_at: list[int] = []
    killer = threading.Thread(target=kill_a_node_once_both_are_at_work)
    killer.start()
    execute(runs, executor="ray", quiet=True)
    killer.join()
    assert killed_at == [2]
    rows = [(store.folder(c) / "rounds.jsonl").read_bytes() for c in runs]

    monkeypatch.setenv("ALPT_GPUS_PER_RUN", "0.5")
    with pytest.raises(
        ConfigError,
        match=r"ALPT_GPUS_PER_RUN takes a number from 0 to the cluster's 0 GPUs; got '0.5'",
    ):
        execute(plan(birds_folder, n_seeds=5), executor="ray", quiet=True)

    monkeypatch.setenv("ALPT_HOME", str(tmp_path))
    execute(runs, workers=1, quiet=True)
    assert [(store.folder(c) / "rounds.jsonl").read_bytes() for c in runs] == rows


def test_without_ray_the_command_says_how_to_install_it(birds_folder, home):
    code = "import sys; sys.modules['ray'] = None; from companion.command_line import main; sys.exit(main(sys.argv[1:]))"
    changes = f"{{datasets: [{birds_folder}], models: [bit-m-np], protocol: {{budget: 4}}}}"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            "execute",
            "--preset",
            "smoke",
            "--only",
            "01",
            "--executor",
            "ray",
            "--set",
            changes,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert (
        done.stderr
        == "error: --executor ray needs Ray, which is not installed: pip install -e '.[ray]'\n"
    )
