import errno
import os
import resource
import shutil
import signal
import time
from dataclasses import replace
from unittest.mock import Mock

import pytest

from fedprompt.benchmark.errors import ConfigError, Terminated
from fedprompt.benchmark.runs import locks, worker
from fedprompt.benchmark.runs import store as store_module
from fedprompt.benchmark.runs.driver_status import FOLDER
from fedprompt.benchmark.runs.locks import Locks
from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.runs.worker import RunTask, run_task
from fedprompt.benchmark.scheduling import scheduler as module
from fedprompt.benchmark.scheduling.options import SweepOptions
from fedprompt.benchmark.scheduling.progress import ProgressListener
from fedprompt.benchmark.scheduling.scheduler import SweepSummary, preflight, run_all
from fedprompt.data.files import atomic
from tests.benchmark.conftest import configs


class Recorder(ProgressListener):
    """Records what is reported to it."""

    def __init__(self, store):
        self.store, self.rounds, self.runs, self.notes = store, list[tuple[str, int, int]](), list[str](), list[str]()

    def round_done(self, run_id, number, images=0, worker="", row=None):
        self.rounds.append((run_id, number, images))

    def run_done(self, run_id, result):
        assert self.store.entry(run_id) is not None, "a run is reported before it is in the store"
        self.runs.append(run_id)

    def note(self, text):
        self.notes.append(text)


def fake(config, threads, progress, *_):
    """Replaces the execution of a run; the run of seed 1 fails."""
    progress(1, 32, {"round": 1})
    if config.seed == 1:
        raise ZeroDivisionError("seed 1")
    return replace(failed(config, ""), result=failed(config, "").result | {"status": "done", "error": None})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.prepare()
    return store


def stored(store, run):
    """Returns the result of a run in the store."""
    return store.entry(run.run_id).result


def test_a_failed_run_is_stored_and_the_others_continue(store, monkeypatch):
    monkeypatch.setattr(worker, "execute", fake)
    runs = configs(seeds=(0, 1, 2))
    recorder = Recorder(store)
    assert run_all(runs, store, SweepOptions(1), recorder) == SweepSummary(failed=1)
    assert recorder.runs == [run.run_id for run in runs]
    assert recorder.rounds == [(run.run_id, *news) for run in runs for news in ((0, 0), (1, 32))]
    results = [stored(store, run) for run in runs]
    assert [result["status"] for result in results] == ["done", "failed", "done"]
    assert results[1]["error"] == "ZeroDivisionError: seed 1"
    log = (store.directory / runs[1].run_id / "log.txt").read_text()
    assert "Traceback" in log
    assert "in fake" in log
    assert store.pending(runs) == [runs[1]]


def test_each_run_is_stored_as_soon_as_it_ends(store, monkeypatch):
    seen: list[int] = []

    def peek(config, *rest):
        seen.append(len(store.entries()))
        return fake(config, *rest)

    monkeypatch.setattr(worker, "execute", peek)
    run_all(configs(seeds=(0, 2, 3)), store, SweepOptions(1), Recorder(store))
    assert seen == [0, 1, 2]


def test_an_interruption_is_not_a_failed_run(monkeypatch):
    monkeypatch.setattr(worker, "execute", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run_task(RunTask(configs()[0]), 1, lambda *_: None)


def test_each_distinct_run_is_set_up_once_before_anything_runs(monkeypatch):
    tried: list[tuple[str, float | None]] = []
    monkeypatch.setattr(module, "simulator", lambda config: tried.append((config.method, config.alpha)))
    preflight(configs(methods=("head", "fedvpt"), alpha=(0.1, 1.0), seeds=(0, 1, 2)))
    assert sorted(tried) == [("fedvpt", 0.1), ("fedvpt", 1.0), ("head", 0.1), ("head", 1.0)]


def test_an_error_in_the_last_run_shows_before_the_first_one_starts():
    with pytest.raises(ConfigError, match="no such file"):
        preflight([*configs(), configs()[0].model_copy(update={"method": "fedvpt", "checkpoint": "absent.pt"})])


def test_a_run_of_another_driver_is_waited_for_and_not_repeated(store, monkeypatch):
    runs = configs(seeds=(0, 2, 3))
    ran: list[int] = []
    other = Locks(store.directory / FOLDER)
    assert other.acquire(runs[0].run_id)
    assert other.acquire(runs[1].run_id)

    def during(config, *rest):
        ran.append(config.seed)
        if config.seed == 3:  # meanwhile the other driver finishes one run, and releases the other unfinished
            theirs = fake(runs[0], 1, lambda *_: None, 0)
            store.write(replace(theirs, result=theirs.result | {"by": "another driver"}))
            other.release(runs[0].run_id)
            other.release(runs[1].run_id)
        return fake(config, *rest)

    monkeypatch.setattr(worker, "execute", during)
    monkeypatch.setattr(module, "CHECK_LOCKS_EVERY", 0.0)
    recorder = Recorder(store)
    assert run_all(runs, store, SweepOptions(1), recorder) == SweepSummary()
    assert ran == [3, 2]
    assert recorder.runs == [runs[2].run_id, runs[0].run_id, runs[1].run_id]
    assert stored(store, runs[0])["by"] == "another driver"
    assert not (store.directory / FOLDER).exists()


def test_a_run_that_fails_in_another_driver_is_counted_and_not_retried(store, monkeypatch):
    runs = configs(seeds=(0, 2))
    store.write(failed(runs[1], "before"))  # an earlier failure is run again
    other = Locks(store.directory / FOLDER)
    assert other.acquire(runs[1].run_id)

    def during(config, *rest):
        assert config.seed == 0
        store.write(failed(runs[1], "meanwhile"))
        other.release(runs[1].run_id)
        return fake(config, *rest)

    monkeypatch.setattr(worker, "execute", during)
    monkeypatch.setattr(module, "CHECK_LOCKS_EVERY", 0.0)
    assert run_all(runs, store, SweepOptions(1), Recorder(store)) == SweepSummary(failed=1)


def test_a_record_written_by_another_driver_meanwhile_is_kept(store, monkeypatch):
    (run,) = configs()

    def overtaken(config, *rest):
        record = fake(config, *rest)
        store.write(replace(record, result=record.result | {"by": "another driver"}))
        return record

    monkeypatch.setattr(worker, "execute", overtaken)
    assert run_all([run], store, SweepOptions(1), Recorder(store)) == SweepSummary()
    assert stored(store, run)["by"] == "another driver"


def test_an_out_of_memory_error_is_logged_and_retried_with_half_the_clients(store, monkeypatch):
    halvings: list[int] = []

    def short(config, threads, progress, halved, *_):
        halvings.append(halved)
        if halved < 2:
            raise MemoryError("short")
        return fake(config, threads, progress, halved)

    monkeypatch.setattr(worker, "execute", short)
    (run,) = configs()
    assert run_all([run], store, SweepOptions(1, retries=1), Recorder(store)) == SweepSummary(failed=1)
    assert halvings == [0, 1]
    assert store.pending([run]) == [run]
    recorder = Recorder(store)
    assert run_all([run], store, SweepOptions(1, retries=2), recorder) == SweepSummary()
    assert halvings == [0, 1, 0, 1, 2]
    assert len(recorder.notes) == 2
    assert stored(store, run)["attempts"] == 3
    log = (store.directory / run.run_id / "log.txt").read_text()
    assert log.count("MemoryError: short") == 2
    assert "--- attempt 3 ---" in log


def test_no_run_starts_after_the_failure_limit(store, monkeypatch):
    monkeypatch.setattr(worker, "execute", fake)
    runs = configs(seeds=(0, 1, 2, 3))  # the second fails
    recorder = Recorder(store)
    assert run_all(runs, store, SweepOptions(1, max_failures=1), recorder) == SweepSummary(failed=1, skipped=2)
    assert recorder.runs == [runs[0].run_id, runs[1].run_id]
    assert recorder.notes[0] == "--max-failures 1 reached. Skipping 2 pending runs; active runs will finish."
    assert run_all(runs[2:], store, SweepOptions(1, max_failures=1), recorder) == SweepSummary()


def test_a_full_disk_ends_the_sweep_with_a_message_and_leaves_no_lock(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(worker, "execute", fake)
    runs = configs(seeds=(0, 2))
    with monkeypatch.context() as broken:
        broken.setattr(locks.json_files, "write", full)
        with pytest.raises(ConfigError, match=r"cannot lock a run in .*: no space left on device"):
            run_all(runs, store, SweepOptions(1), Recorder(store))
    with monkeypatch.context() as broken:
        broken.setattr(store_module, "_write_files", full)
        with pytest.raises(ConfigError, match="cannot be written: no space left on device"):
            run_all(runs, store, SweepOptions(1), Recorder(store))
    assert list(store.directory.iterdir()) == []
    assert run_all(runs, store, SweepOptions(1), Recorder(store)) == SweepSummary()


@pytest.fixture
def sigint():
    """Restores the default SIGINT handler: shells let background processes ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_the_sweep_after_the_current_record_is_written(number, raised, store, monkeypatch):
    write, before = store.write, signal.getsignal(number)

    def signalled(*record):
        os.kill(os.getpid(), number)
        return write(*record)

    monkeypatch.setattr(worker, "execute", fake)
    monkeypatch.setattr(store, "write", signalled)
    runs = configs(seeds=(0, 2))
    with pytest.raises(raised):
        run_all(runs, store, SweepOptions(1), Recorder(store))
    assert store.pending(runs) == runs[1:]
    assert not (store.directory / FOLDER).exists()
    assert signal.getsignal(number) == before


def test_a_signal_interrupts_a_round_in_the_driver_after_the_grace_period(store, monkeypatch):
    def signalled(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(module, "GRACE_PERIOD", 0.1)
    monkeypatch.setattr(worker, "execute", signalled)
    with pytest.raises(Terminated):
        run_all(configs(), store, SweepOptions(1), Recorder(store))
    assert list(store.directory.iterdir()) == []


@pytest.mark.parametrize("replaced", [False, True])
def test_a_directory_that_vanishes_ends_the_sweep_with_the_reason(replaced, tmp_path, monkeypatch):
    store = Store(tmp_path / "runs")
    store.prepare()

    def vanish(config, *rest):
        if config.seed == 2:
            shutil.rmtree(store.directory)
            if replaced:
                store.directory.mkdir()
        return fake(config, *rest)

    monkeypatch.setattr(worker, "execute", vanish)
    reason = "was deleted or replaced" if replaced else "cannot be reached any more: no such file or directory"
    with pytest.raises(ConfigError, match=reason):
        run_all(configs(seeds=(0, 2, 3)), store, SweepOptions(1), Recorder(store))
    assert list(tmp_path.glob("runs/*")) == []
    assert store.directory.exists() == replaced


@pytest.mark.parametrize("error", [errno.ESTALE, errno.EBUSY])
def test_renames_that_fail_now_and_then_do_not_change_the_records(error, store, monkeypatch):
    rename, calls = os.replace, []

    def flaky(source, target):
        calls.append(source)
        if len(calls) % 3:
            raise OSError(error, os.strerror(error))
        rename(source, target)

    monkeypatch.setattr(worker, "execute", fake)
    monkeypatch.setattr(os, "replace", flaky)
    monkeypatch.setattr(atomic.time, "sleep", lambda _: None)
    runs = configs(seeds=(0, 1, 2))
    assert run_all(runs, store, SweepOptions(1), Recorder(store)) == SweepSummary(failed=1)
    assert sorted(path.name for path in store.directory.iterdir()) == sorted(run.run_id for run in runs)
    assert {stored(store, run)["status"] for run in runs} == {"done", "failed"}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_by_an_hour_changes_nothing(hours, store, monkeypatch):
    clock = time.time
    runs = configs(seeds=(0, 2))

    class Jumps(Recorder):
        def round_done(self, *news, **more):
            super().round_done(*news, **more)
            monkeypatch.setattr(time, "time", lambda: clock() + 3600 * hours)

    began = time.monotonic()
    assert run_all(runs, store, SweepOptions(1), Jumps(store)) == SweepSummary()
    assert time.monotonic() - began < 1800
    for run in runs:
        result = stored(store, run)
        assert 0 <= result["when"]["ended"] - result["when"]["began"] < 1800
        assert 0 < result["seconds"]["total"] < 1800
    assert not (store.directory / FOLDER).exists()


def test_without_free_file_descriptors_the_sweep_ends_with_the_reason(store, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    runs = configs(seeds=(0, 2))

    def exhausting(config, *rest):
        if config.seed == 2:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
        return fake(config, *rest)

    monkeypatch.setattr(worker, "execute", exhausting)
    try:
        with pytest.raises(ConfigError, match="too many open files"):
            run_all(runs, store, SweepOptions(1), Recorder(store))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    monkeypatch.setattr(worker, "execute", fake)
    assert stored(store, runs[0])["status"] == "done"
    assert run_all(runs, store, SweepOptions(1), Recorder(store)) == SweepSummary()
    assert sorted(path.name for path in store.directory.iterdir()) == sorted(run.run_id for run in runs)
