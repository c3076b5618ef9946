"""Listing, resuming and tables stay fast and small with 5,000 runs in one directory, a run with 10,000 clients."""

import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.runs.execute import execute
from fedprompt.benchmark.runs.record import Record
from fedprompt.benchmark.runs.store import Store
from tests.chaos.processes import ROOT

pytestmark = pytest.mark.chaos
RUNS, SECONDS, BYTES, PLAN_BYTES = 5_000, 10.0, 500 * 10**6, 10**9  # `plan` imports torch
WORDS = ("--methods", "head,fedvpt", "--alpha", "0.05,0.1,0.5,1,5", "--seeds", ",".join(map(str, range(RUNS // 10))))
SHORT = ("--precision", "fp32", "--rounds", "1", "--participation", "0.1", "--eval-every", "1")
BENCH = """
import sys
from fedprompt.benchmark.cli import main
try:
    main()
finally:
    sys.stderr.write(open("/proc/self/status").read())
"""
"""`bench` that prints its own peak memory; the resource usage of a child would include its parent's."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A directory of finished runs; their results are those of two executed runs."""
    store = Store(tmp_path_factory.mktemp("scale") / "runs")
    store.prepare()
    shared = {
        "rounds": 1,
        "participation": 0.1,
        "eval_every": 1,
        "precision": "fp32",
        "alpha": (0.05, 0.1, 0.5, 1.0, 5.0),
    }
    grid = options({"methods": ("head", "fedvpt"), "seeds": tuple(range(RUNS // 10)), **shared}).grid()
    executed: dict[str, Record] = {}
    for config in grid:
        if config.method not in executed:
            executed[config.method] = execute(config)
        first = executed[config.method]
        identity = {"run_id": config.run_id, "alpha": config.alpha, "seed": config.seed}
        result = first.result | identity | {"config": config.model_dump(mode="json")}
        store.write(replace(first, config=config, result=result))
    assert len(grid) == RUNS
    return store.directory


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("status", "{runs}"), f"{RUNS} done"),
        (("plan", *WORDS, *SHORT, "--out", "{runs}"), f"{RUNS} runs: {RUNS} done, 0 to run"),
        (("list", "methods"), "fedvpt"),
        (("table", "{runs}"), "fedvpt"),
        (("report", "{runs}"), "report.html"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_commands_are_fast_with_thousands_of_runs(words, expected, runs):
    command = [sys.executable, "-c", BENCH, *(word.format(runs=runs) for word in words)]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    seconds = time.monotonic() - began
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stderr)
    assert peak, done.stderr
    most = int(peak[1]) * 1024
    print(f"\n{words[0]}: {seconds:.1f} s, at most {most / 1e6:.0f} MB")
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout, done.stdout
    assert seconds < SECONDS
    assert most < (PLAN_BYTES if words[0] == "plan" else BYTES)
    if words[0] == "report":
        assert (runs / "report.html").stat().st_size < 25 * 10**6


def test_a_run_with_ten_thousand_clients_takes_at_most_twenty_seconds_once_its_features_are_cached(tmp_path):
    """Each client has three training images and one test image."""
    generator = np.random.default_rng(0)
    data = {
        "train_x": generator.integers(0, 256, (30_000, 32, 32, 3), dtype=np.uint8),
        "train_y": generator.integers(0, 10, 30_000),
        "test_x": generator.integers(0, 256, (10_000, 32, 32, 3), dtype=np.uint8),
        "test_y": generator.integers(0, 10, 10_000),
    }
    np.savez(tmp_path / "images.npz", **data)
    words = ["run", "--method", "head", "--dataset", f"npz:{tmp_path / 'images.npz'}", "--clients", "10000"]
    words += ["--alpha", "0.5", "--participation", "0.0005", "--rounds", "8", "--out", str(tmp_path / "runs")]
    command = [sys.executable, "-c", BENCH, *words]
    subprocess.run([*command[:-1], str(tmp_path / "first")], cwd=ROOT, capture_output=True, check=True, timeout=300)
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    seconds = time.monotonic() - began
    print(f"\n10,000 clients: {seconds:.1f} s")
    assert done.returncode == 0, done.stderr
    assert seconds < 20
