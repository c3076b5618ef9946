"""Sweeps that share a directory, are terminated, meet a full or read-only disk, or whose directory is copied."""

import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from fedprompt.benchmark.runs import worker
from fedprompt.benchmark.runs.driver_status import FOLDER
from fedprompt.benchmark.runs.store import CHECKPOINT
from tests.benchmark.conftest import SMALL, config, refused
from tests.chaos.processes import descendants, gone, start, until, untimed

COUNTS = """def combine(self, server, uploads):
        with open({path!r}, "a") as file:
            file.write("x")
        return super().combine(server, uploads)
"""


def fill(path):
    """Writes a file until the disk is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a tmpfs with the options given."""
    mounted: list[Path] = []

    def mount(options):
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a file system needs root")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.serial
def test_two_concurrent_sweeps_run_every_run_once_and_print_the_same_table(plugin, tmp_path):
    witness = tmp_path / "witness"
    own = plugin(body=COUNTS.format(path=str(witness)))
    words = ("sweep", "--methods", "own", "--seeds", ",".join(map(str, range(8))), *SMALL, "--plugin", own)
    both = [start(*words, "--workers", 1, "--out", tmp_path / "runs") for _ in range(2)]
    outputs = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert witness.read_text() == "x" * 8  # each run has one round, and so combines once
    assert outputs[0][0] == outputs[1][0]
    assert "own" in outputs[0][0]
    workers = Counter(json.loads(p.read_text())["when"]["worker"] for p in (tmp_path / "runs").glob("*/result.json"))
    assert sum(workers.values()) == 8
    assert len(workers) == 2, "one of the two sweeps did nothing"
    assert not list((tmp_path / "runs").glob(".*"))


@pytest.mark.slow
@pytest.mark.serial
def test_sigterm_keeps_finished_runs_and_leaves_no_process(tmp_path):
    runs = tmp_path / "runs"
    words = ("sweep", "--methods", "head", "--seeds", "0,1", "--rounds", 100000, "--eval-every", 100000)
    process = start(*words, "--workers", 2, "--out", runs)
    until(lambda: list((runs / FOLDER).glob("*.lock")) or process.poll() is not None)
    time.sleep(1)
    children = dict(descendants(process.pid))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "terminated. Finished runs are saved; run the same command again to resume." in err
    assert "Traceback" not in err
    assert out == ""
    assert len(children) > 2
    gone(children, 30)
    assert list(runs.iterdir()) == []


@pytest.mark.usefixtures("no_figures")
def test_copied_directory_can_be_resumed(bench, tmp_path, monkeypatch):
    words = ("sweep", "--methods", "head", "--seeds", "0,1,2", *SMALL, "--workers", 1, "--out")
    execute = worker.execute

    def copied(run, *rest):
        if run.seed == 1 and not (tmp_path / "copy").exists():
            shutil.copytree(tmp_path / "runs", tmp_path / "copy")  # during a run, with its lock
        return execute(run, *rest)

    monkeypatch.setattr(worker, "execute", copied)
    bench.ok(*words, "runs")
    assert len(list((tmp_path / "copy").glob("*/result.json"))) == 1
    answer = bench.ok(*words, "copy")
    assert "3 runs, 1 already done" in answer.err
    assert untimed(bench("table", "copy", "--json").out) == untimed(bench("table", "runs", "--json").out)


@pytest.mark.usefixtures("no_figures")
def test_full_disk_ends_a_sweep_with_an_error_and_it_can_be_resumed(bench, small_disk, monkeypatch):
    place, execute = small_disk("size=60m"), worker.execute
    words = ("sweep", "--methods", "head", "--seeds", "0,1,2", *SMALL, "--workers", 1, "--out", place / "runs")

    def filled(run, *rest):
        if run.seed == 1:
            fill(place / "filler")
        return execute(run, *rest)

    with monkeypatch.context() as full:
        full.setattr(worker, "execute", filled)
        answer = bench(*words)
    assert (answer.code, answer.out) == (2, "")
    error = answer.err[answer.err.index("error: ") :]  # after the table of the first seed
    assert "no space left on device" in error
    assert error.count("\n") <= 2
    assert [path.name for path in (place / "runs").iterdir() if path.is_dir()] == [config(seeds=(0,)).run_id]
    (place / "filler").unlink()
    answer = bench.ok(*words)
    assert "3 runs, 1 already done" in answer.err


def test_read_only_disk_is_named(bench, small_disk):
    place = small_disk("size=60m,ro")
    refused(bench("sweep", "--methods", "head", "--seed", 0, *SMALL, "--out", place / "runs"), "cannot be written")


@pytest.mark.usefixtures("no_figures")
def test_retry_repeats_failed_runs(bench, plugin, tmp_path):
    fails = "def combine(self, server, uploads):\n        import os\n        "
    fails += f"if os.path.exists({str(tmp_path / 'broken')!r}): raise ArithmeticError('on purpose')\n"
    fails += "        return super().combine(server, uploads)"
    own = plugin(body=fails)
    (tmp_path / "broken").touch()
    words = ("--methods", "own,head", "--seed", 0, *SMALL, "--workers", 1, "--plugin", own, "--out", "runs")
    assert bench("sweep", *words).code == 1
    refused(bench("retry", "runs"), "name it with --plugin")
    assert bench("retry", "runs", "--plugin", own, "--workers", 1).code == 1
    (tmp_path / "broken").unlink()
    answer = bench.ok("retry", "runs", "--plugin", own, "--workers", 1)
    assert "1 failed runs" in answer.err
    assert "head" in answer.out
    assert "own" in answer.out
    bench.ok("retry", "runs")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--gpus-per-run", "0.5"], "--device cuda"),
        (["--gpus-per-run", "auto"], "--gpus-per-run auto needs --device cuda, not cpu"),
        (["--gpus-per-run", "-1"], "--gpus-per-run -1: must be a number"),
        (["--gpus-per-run", "half"], "--gpus-per-run half: must be a number of GPUs from 0, such as 0.25, or auto"),
        (["--cpus-per-run", "100000"], "--cpus-per-run 100000"),
    ],
)
def test_impossible_scheduling_options_are_refused(words, named, bench, tmp_path):
    refused(bench("sweep", "--methods", "head", "--seed", 0, *words), named)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("result.json", ("sweep",)),
        ("result.json", ("status", "runs")),
        ("result.json", ("table", "runs")),
        ("rounds.parquet", ("export", "runs", "all.csv", "--what", "rounds")),
        ("clients.parquet", ("export", "runs", "all.csv", "--what", "clients")),
    ],
)
def test_truncated_record_is_named_and_can_be_deleted_and_repeated(file, words, bench, directory, tmp_path):
    shutil.copytree(directory, tmp_path / "runs")
    grid = ("sweep", "--methods", "head", "--seeds", "0,1", *SMALL, "--workers", 1, "--out", "runs")
    before = untimed(bench("table", "runs", "--json").out)
    place = tmp_path / "runs" / config(seeds=(1,)).run_id
    (place / file).write_bytes((place / file).read_bytes()[:-40])
    answer = bench(*(grid if words == ("sweep",) else words))
    (line,) = [line for line in answer.err.splitlines() if f"{place.name}/{file}" in line]
    assert all(word in line for word in ("delete", "directory", "again"))
    assert (answer.code, line.startswith("left out: ")) == (1, True)  # the rest of the records is shown
    shutil.rmtree(place)
    answer = bench(*grid)
    assert (answer.code, "2 runs, 1 already done" in answer.err) == (0, True)
    assert untimed(bench("table", "runs", "--json").out) == before


@pytest.mark.usefixtures("no_figures")
def test_truncated_checkpoint_is_named_and_its_run_restarts(bench, tmp_path, caplog):
    place = tmp_path / "runs" / config().run_id
    place.mkdir(parents=True)
    (place / CHECKPOINT).write_bytes(b"half a checkpo")
    bench.ok("sweep", "--methods", "head", "--seed", 0, *SMALL, "--workers", 1, "--out", "runs")
    message = (
        f"{place.name}/{CHECKPOINT} is truncated or no checkpoint; it is renamed to checkpoint-set-aside.safetensors"
    )
    assert f"{message}, and the run starts over" in caplog.text
    assert json.loads((place / "result.json").read_text())["status"] == "done"
    assert sorted(path.name for path in (tmp_path / "runs").glob("*/*checkpoint*")) == []
