"""Listing, resuming and tables stay fast and small with five thousand runs in one directory."""

import re
import subprocess
import sys
import time
from dataclasses import replace

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
