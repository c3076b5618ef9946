"""Failures of real sweeps: SIGKILL at random moments, and nodes of a cluster that are lost and added."""

import json
import os
import random
import signal
import subprocess
import time
from typing import Any

import pytest

from fedprompt.benchmark.runs.driver_status import FOLDER, active_drivers
from fedprompt.benchmark.runs.store import Store
from tests.chaos.processes import descendants, gone, kill, start, until, untimed

pytestmark = [
    pytest.mark.chaos,
    # Ray leaves sockets to the garbage collector, and warns of a future change of a default
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
GRID = ("sweep", "--methods", "head,fedvpt", "--alpha", "0.1,0.5,5", "--rounds", 3, "--eval-every", 3)


def table(directory):
    """Returns the table of a directory, without durations."""
    process = start("table", directory, "--json")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return untimed(out)


def seeds(count):
    return "--seeds", ",".join(map(str, range(count)))


def versions(directory):
    """Returns the version of the record of each finished run."""
    if not directory.is_dir():
        return {}
    store = Store(directory)
    return {entry.run_id: store.version(entry.run_id) for entry in store.entries() if entry.status == "done"}


def computing(directory):
    """Whether a driver reports a running run. If drivers were killed earlier, the sweep would never progress."""
    return any(progress["running"] for progress in active_drivers(directory).values())


def targets(driver):
    """Returns the process ids of a sweep by kind."""
    below = descendants(driver).items()
    pids_by_kind = {
        "driver": [driver],
        "worker": [pid for pid, words in below if words.startswith("ray::_task")],
        "raylet": [pid for pid, words in below if "/raylet/raylet " in words],
    }
    return {name: pids for name, pids in pids_by_kind.items() if pids}


def test_twenty_kills_at_random_moments_do_not_change_the_table(tmp_path):
    kills, runs = int(os.environ.get("BENCH_KILLS", "20")), int(os.environ.get("BENCH_RUNS", "30"))
    uninterrupted = start(*GRID, *seeds(runs // 6), "--workers", 1, "--out", tmp_path / "uninterrupted")
    assert uninterrupted.wait(timeout=240) == 0
    rng, killed, starts = random.Random(0), list[str](), 0
    place, process, earlier = tmp_path / "runs", None, dict[str, Any]()
    while True:
        if process is None or process.poll() is not None:
            if process is not None and process.returncode >= 0:  # not killed
                assert process.returncode in (0, 1), process.communicate()[1]
                if process.returncode == 0:
                    break
            process, starts = start(*GRID, *seeds(runs // 6), "--workers", 2, "--out", place), starts + 1
        until(lambda p=process: computing(place) or p.poll() is not None)
        time.sleep(rng.uniform(0.2, 4))
        now = versions(place)
        assert {run: now[run] for run in earlier} == earlier, "a finished run was run again"
        earlier = now
        if len(killed) == kills or process.poll() is not None:
            process.wait(timeout=240)
            continue
        name = rng.choice(sorted(targets(process.pid)))
        below = descendants(process.pid)
        kill(rng.choice(targets(process.pid).get(name, [process.pid])))
        killed.append(name)
        if name == "driver":
            process.wait(timeout=60)
            gone(below, 180)
    print(f"\nkilled {killed}; {starts} starts; {len(versions(place))} runs")
    assert table(place) == table(tmp_path / "uninterrupted")
    assert not (place / FOLDER).exists()


def test_a_run_that_takes_too_long_is_stopped_and_the_others_continue(tmp_path):
    plugin = tmp_path / "slow_plugin.py"
    plugin.write_text(
        "import time\nfrom fedprompt.methods.base import Method\nfrom fedprompt.methods.head import Head\n"
        "from fedprompt.methods.registry import register\n\n"
        '@register("slow", paper="none", year=2025, family="head")\nclass Slow(Head):\n    "Slow."\n'
        "    def combine(self, server, uploads):\n        print('waiting')\n        time.sleep(600)\n"
    )
    words = ("--methods", "slow,head", *seeds(1), "--rounds", 1, "--workers", 2, "--run-timeout", 15)
    process = start("sweep", *words, "--plugin", plugin, "--out", tmp_path / "runs")
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1, err
    entries = {entry.result["method"]: entry for entry in Store(tmp_path / "runs").entries()}
    assert entries["head"].status == "done"
    assert entries["slow"].result["error_kind"] == "time_limit"
    assert entries["slow"].result["error"] == "stopped after 15 s (--run-timeout)"


@pytest.fixture
def cluster():
    """A Ray cluster whose nodes are processes on this machine, with a head node without processors."""
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield started
    started.shutdown()


def test_a_lost_node_and_a_new_one_do_not_change_the_table(cluster, tmp_path):
    first = cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    uninterrupted = start(*GRID, *seeds(3), "--workers", 1, "--out", tmp_path / "uninterrupted")
    process = start(*GRID, *seeds(3), "--address", cluster.address, "--out", tmp_path / "runs")
    until(lambda: len(versions(tmp_path / "runs")) >= 3 or process.poll() is not None, 200)
    cluster.remove_node(first, allow_graceful=False)
    time.sleep(3)
    cluster.add_node(num_cpus=2)
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert uninterrupted.wait(timeout=240) == 0
    assert len(versions(tmp_path / "runs")) == 18
    print("\n", [line for line in err.splitlines() if "retrying" in line])
    assert "fedvpt" in out
    assert table(tmp_path / "runs") == table(tmp_path / "uninterrupted")


def test_a_node_without_the_data_is_named(cluster, tmp_path):
    import numpy as np

    images, labels = np.zeros((40, 8, 8, 3), np.uint8), np.arange(40) % 2
    np.savez(tmp_path / "own.npz", train_x=images, train_y=labels, test_x=images, test_y=labels)
    cluster.add_node(num_cpus=1)
    words = ("--methods", "head", *seeds(2), "--clients", 4, "--rounds", 1, "--datasets", f"npz:{tmp_path / 'own.npz'}")
    process = start("sweep", *words, "--address", cluster.address, "--out", tmp_path / "runs")
    until(lambda: (tmp_path / "runs").is_dir() or process.poll() is not None, 200)  # the driver has read the file
    (tmp_path / "own.npz").unlink()
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1, err
    results = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/result.json")]
    assert {result["error_kind"] for result in results} == {"no_data"}
    assert all("own.npz" in result["error"] and "(on node " in result["error"] for result in results)


def test_a_node_with_another_version_is_reported_and_nothing_runs(cluster, tmp_path, monkeypatch):
    other = tmp_path / "packages" / "timm-0.0.1.dist-info"  # found before the real one, on the node only
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 0.0.1\n")
    with monkeypatch.context() as on_node:
        on_node.setenv("PYTHONPATH", os.pathsep.join([str(other.parent), os.environ.get("PYTHONPATH", "")]))
        cluster.add_node(num_cpus=1)
    words = ("--methods", "head", *seeds(1), "--rounds", 1, "--address", cluster.address)
    process = start("sweep", *words, "--out", tmp_path / "runs")
    _, err = process.communicate(timeout=200)
    assert process.returncode == 2, err
    (message,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "has timm 0.0.1; the driver has " in message
    assert not list((tmp_path / "runs").glob("*"))


def test_plug_ins_are_shipped_to_a_cluster_and_logs_are_returned(cluster, tmp_path):
    plugin = tmp_path / "own.py"
    plugin.write_text(
        "from fedprompt.methods import Method, register\nfrom fedprompt.methods.head import Head\n\n"
        '@register("own", paper="none", year=2025, family="head")\nclass Own(Head):\n    "Says something."\n'
        "    def combine(self, server, uploads):\n        print('from', __file__)\n"
        "        return super().combine(server, uploads)\n"
    )
    cluster.add_node(num_cpus=1)
    words = ("--methods", "own", *seeds(1), "--rounds", 1, "--plugin", plugin)
    process = start("sweep", *words, "--address", cluster.address, "--out", tmp_path / "runs")
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    (entry,) = Store(tmp_path / "runs").entries()
    log = (tmp_path / "runs" / entry.run_id / "log.txt").read_text()
    assert "working_dir_files" in log, "the plug-in was not shipped"
    assert entry.result["config"]["plugins"] == [str(plugin)]


def test_ctrl_c_ends_all_processes_of_ray(tmp_path):
    words = ("--methods", "head", *seeds(2), "--rounds", 100000, "--eval-every", 100000, "--workers", 2)
    process: subprocess.Popen[str] = start("sweep", *words, "--out", tmp_path / "runs")
    until(lambda: list((tmp_path / "runs" / FOLDER).glob("*.lock")) or process.poll() is not None)
    below = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    gone(below, 30)
    assert list((tmp_path / "runs").iterdir()) == []
