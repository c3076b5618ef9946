import json
import os
import signal
import sys

import psutil
import pytest

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.driver_status import FOLDER, active_drivers
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.scheduling import scheduler
from fedprompt.benchmark.scheduling.options import SweepOptions
from fedprompt.benchmark.scheduling.pools import local_pool
from fedprompt.benchmark.scheduling.pools.local_pool import LocalPool
from fedprompt.results.figures import drawing as figures
from tests.benchmark.conftest import SMALL, configs, refused
from tests.chaos.processes import descendants, gone, kill, start, until

LONG = ("sweep", "--local", "--methods", "head", "--seeds", "0,1", "--rounds", 100000, "--eval-every", 100000)
ENDS = """def logits(self, vit, batch, state):
        if batch.phase is not None:
            {action}
        return super().logits(vit, batch, state)
"""


def results(directory):
    """Returns the results in a directory by method."""
    return {entry.result["method"]: entry.result for entry in Store(directory).entries()}


def running(directory):
    """The runs at work, as the driver of the directory reports them."""
    return [run for progress in active_drivers(directory).values() for run in progress["running"]]


@pytest.mark.slow
def test_failures_and_lost_workers_are_recorded_and_the_other_runs_continue(bench, plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_, **__: [])  # slow, and not tested here
    raises = plugin("raises", ENDS.format(action="print('about to raise'); raise ArithmeticError('on purpose')"))
    dies = plugin("dies", ENDS.format(action="import os; os.kill(os.getpid(), 9)"))
    leaves = plugin("leaves", ENDS.format(action="import os; os._exit(7)"))
    hangs = plugin("hangs", ENDS.format(action="import time; time.sleep(600)"))
    own = [word for file in (raises, dies, leaves, hangs) for word in ("--plugin", file)]
    words = ("--methods", "head,raises,dies,leaves,hangs", *own, "--seed", 0, *SMALL, "--workers", 2, "--retries", 1)
    answer = bench("sweep", "--local", *words, "--run-timeout", 20, "--out", "runs")
    assert answer.code == 1
    assert "4 runs failed" in answer.err
    found = results(tmp_path / "runs")
    assert {method: result["error_kind"] for method, result in found.items()} == {
        "head": None, "raises": "exception", "dies": "worker_killed", "leaves": "worker_killed", "hangs": "time_limit"
    }  # fmt: skip
    assert found["raises"]["error"] == "ArithmeticError: on purpose"
    assert found["dies"]["error"] == "the worker process was killed by SIGKILL"
    assert found["leaves"]["error"] == "the worker process ended with exit code 7"
    assert found["hangs"]["error"] == "stopped after 20 s (--run-timeout)"
    assert {method: result["attempts"] for method, result in found.items()} == {
        "head": 1, "raises": 1, "dies": 2, "leaves": 2, "hangs": 1
    }  # fmt: skip
    log = (tmp_path / "runs" / found["raises"]["run_id"] / "log.txt").read_text()
    assert "about to raise\n" in log
    assert "Traceback" in log
    assert all(result["when"]["worker"].split(":")[1] != str(os.getpid()) for result in found.values())
    assert not psutil.Process().children(recursive=True) or "resource_tracker" in str(descendants(os.getpid()))


@pytest.mark.slow
def test_a_local_sweep_opens_no_port_and_ends_with_its_driver(tmp_path):
    process = start(*LONG, "--workers", 2, "--out", tmp_path / "runs")
    until(lambda: len(descendants(process.pid)) >= 3)  # two workers and multiprocessing's resource tracker
    until(lambda: list((tmp_path / "runs" / FOLDER).glob("driver-*.json")))
    below = descendants(process.pid)
    for pid in (process.pid, *below):
        assert not [c for c in psutil.Process(pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
    kill(process.pid)
    process.communicate(timeout=30)
    gone(below, 10)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_ends_a_local_sweep_in_order(number, tmp_path):
    runs = tmp_path / "runs"
    process = start(*LONG, "--workers", 2, "--checkpoint-every", 3600, "--out", runs)
    until(lambda: len([run for run in running(runs) if run["round"] > 0]) == 2)
    below = descendants(process.pid)
    for pid in (*below, process.pid):  # as a terminal and batch systems do
        if "resource_tracker" not in below.get(pid, ""):
            os.kill(pid, number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number, err
    assert out == ""
    assert "Traceback" not in err
    assert err.count("run the same command again to resume") == 1
    gone(below, 5)
    assert len(list(runs.glob("*/checkpoint.safetensors"))) == 2


@pytest.mark.slow
def test_a_local_sweep_does_not_import_ray(tmp_path):
    code = "import sys; sys.modules['ray'] = None\nfrom fedprompt.benchmark.cli import main\nmain()"
    words = ("sweep", "--local", "--methods", "head", "--seeds", "0,1", *SMALL, "--workers", 2, "--out", tmp_path)
    assert _python(code, *words) == 0
    assert results(tmp_path)["head"]["status"] == "done"


def _python(code, *words):
    import subprocess

    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, timeout=240).returncode


def test_local_and_an_address_exclude_each_other(bench, tmp_path):
    words = ("--methods", "head", "--seed", 0, *SMALL, "--local", "--address", "10.0.0.1:6379")
    refused(bench("sweep", *words, "--out", "runs"), "--local --address 10.0.0.1:6379: a local sweep uses no cluster")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("gpus", "available", "shares"),
    [
        (0.5, ["0", "3"], ["0", "3", "0", "3"]),
        (0.3333, ["0"], ["0", "0", "0"]),
        (1, ["0", "1"], ["0", "1"]),
        (2, ["4", "5", "6"], ["4,5"]),
        (2, ["0"], []),
    ],
)
def test_workers_share_the_gpus_as_a_run_needs(gpus, available, shares):
    assert local_pool._shares(gpus, available) == shares


def test_more_gpus_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(local_pool, "_gpus", lambda: ["0"])
    with pytest.raises(ConfigError, match=r"a run needs 2 GPUs; this machine has 1\. Lower --gpus-per-run"):
        LocalPool(SweepOptions(gpus=2), 4, None, None)
    assert LocalPool(SweepOptions(gpus=0.5), 4, None, None).workers == 2


def test_one_worker_without_a_time_limit_needs_no_process(store, monkeypatch):
    monkeypatch.setattr(local_pool, "LocalPool", lambda *_: pytest.fail("a process is not needed"))
    monkeypatch.setattr(scheduler, "_Scheduler", lambda *_: json)
    monkeypatch.setattr(json, "run", lambda: "ran", raising=False)
    assert scheduler.run_all(configs(), store, SweepOptions(1, local=True), scheduler.ProgressListener()) == "ran"
