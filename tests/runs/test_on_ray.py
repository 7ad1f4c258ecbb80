"""Runs as tasks of a Ray cluster: two real nodes on this machine, one of which is killed."""

import importlib.util
import os
import socket
import subprocess
import sys
import threading
import time

import pytest
from toy_runs import plan, rows

from alpt_lib.errors import ConfigError
from alpt_lib.files import REPOSITORY
from companion.runs import on_ray
from companion.runs.execute import execute

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)


def of_seeds(folder, n: int):
    """A run of 17 short fits for each seed."""
    return plan(
        folder,
        seeds=list(range(n)),
        acquisitions=["least_confidence"],
        protocol={"budget": 16, "query_batch_size": 1},
        recipe={"max_steps": 6},
    )


@pytest.fixture
def cluster(home, monkeypatch):
    """A cluster of a head without cores and two nodes with one each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # a busy machine takes long to start a node
    os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112
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
    birds_folder, cluster, tmp_path, monkeypatch
):
    runs = of_seeds(birds_folder, 4)
    killed_at: list[int] = []

    def n_at_work() -> int:
        return sum(run.n_stored() >= 2 and not run.is_done() for run in runs)

    def kill_a_node_once_both_are_at_work() -> None:
        deadline = time.monotonic() + 240
        while n_at_work() < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        killed_at.append(n_at_work())
        cluster.remove_node(cluster.spot, allow_graceful=False)

    killer = threading.Thread(target=kill_a_node_once_both_are_at_work)
    killer.start()
    execute(runs, executor="ray", quiet=True)
    killer.join()
    assert killed_at == [2]
    stored = rows(runs)

    monkeypatch.setenv("ALPT_GPUS_PER_RUN", "0.5")
    said = r"ALPT_GPUS_PER_RUN takes a number from 0 to the cluster's 0 GPUs; got '0.5'"
    with pytest.raises(ConfigError, match=said):
        execute(of_seeds(birds_folder, 5), executor="ray", quiet=True)

    monkeypatch.setenv("ALPT_HOME", str(tmp_path))
    execute(runs, workers=1, quiet=True)
    assert rows(runs) == stored


@needs_ray
@pytest.mark.parametrize("listens", [False, True])
def test_an_address_where_no_cluster_answers_is_one_line(birds_folder, home, monkeypatch, listens):
    monkeypatch.setattr(on_ray, "ANSWER", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listens:
            # connects, and never says a word
            taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConfigError, match=f"no Ray cluster answers at RAY_ADDRESS={address}"):
            execute(of_seeds(birds_folder, 1), executor="ray", quiet=True)


def test_without_ray_the_command_says_how_to_install_it(birds_folder):
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from companion.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    changes = f"{{datasets: [{birds_folder}], models: [bit-m-np], protocol: {{budget: 4}}}}"
    options = ["--quiet", "--preset", "smoke", "--only", "01", "--executor", "ray"]
    done = subprocess.run(
        [sys.executable, "-c", code, "execute", *options, "--set", changes],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    said = "error: --executor ray needs Ray, which is not installed: pip install -e '.[ray]'\n"
    assert done.stderr == said
