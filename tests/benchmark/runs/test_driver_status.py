import time
from pathlib import Path

import pytest

from fedprompt.benchmark.runs import driver_status as module
from fedprompt.benchmark.runs import locks
from fedprompt.benchmark.runs.driver_status import FOLDER, DriverStatus, active_drivers, run_locks
from fedprompt.benchmark.runs.locks import Locks
from tests.benchmark.runs.test_locks import DEAD, ELSEWHERE, HERE, abandon

RUN = {"run_id": "r", "name": "head", "round": 1, "rounds": 8, "worker": ""}
PROGRESS = {
    "runs": 3,
    "finished": 1,
    "failed": 0,
    "images_per_second": 5.0,
    "seconds_left": None,
    "running": [RUN],
}


@pytest.fixture(autouse=True)
def _report_often(monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY", 0.01)


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_driver_reports_its_progress_and_leaves_no_file(tmp_path):
    counts = iter(range(10**6))
    with DriverStatus(tmp_path, lambda: PROGRESS | {"runs": next(counts)}) as held:
        held.acquire("run")
        until(lambda: any(progress["runs"] > 1 for progress in active_drivers(tmp_path).values()))
        assert list(active_drivers(tmp_path)) == [f"{HERE['host']}:{HERE['pid']}"]
        assert [lock.name for lock in run_locks(tmp_path)] == ["run"]
    assert list(tmp_path.iterdir()) == []
    assert active_drivers(tmp_path) == {}


def test_a_driver_that_ends_leaves_the_locks_of_another(tmp_path):
    other = Locks(tmp_path / FOLDER)
    other.acquire("theirs")
    with DriverStatus(tmp_path, dict) as held:
        held.acquire("mine")
    assert [lock.name for lock in other.all()] == ["theirs"]


def test_the_progress_of_a_killed_driver_is_ignored_and_deleted(tmp_path):
    for name, driver in (("driver-a", DEAD), ("driver-b", ELSEWHERE)):
        abandon(tmp_path / FOLDER, name, **driver, progress={"runs": 3})
    (tmp_path / FOLDER / "driver-broken.lock").touch()
    (tmp_path / FOLDER / "driver-broken.json").write_text("{")
    assert active_drivers(tmp_path) == {}
    with DriverStatus(tmp_path, dict):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_no_incomplete_report(tmp_path, monkeypatch):
    tried: list[Path] = []

    def full(path, _):
        tried.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(locks.json_files, "write", full)
    with DriverStatus(tmp_path, dict):
        until(lambda: tried)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "progress",
    [
        *({}, [], 5, None),
        *(PROGRESS | {"running": wrong} for wrong in (5, [5], [{}], [RUN | {"run_id": []}])),
        PROGRESS | {"images_per_second": "x"},
        PROGRESS | {"seconds_left": float("inf")},
    ],
)
def test_a_report_of_another_form_is_left_out_and_the_others_remain(tmp_path, progress):
    locks = Locks(tmp_path / FOLDER)
    locks.acquire("driver-a", progress=progress)
    assert active_drivers(tmp_path) == {}
    locks.acquire("driver-b", progress=PROGRESS)
    assert list(active_drivers(tmp_path).values()) == [PROGRESS]


@pytest.mark.parametrize("content", ["[" * 100_000, "{", None])
def test_a_report_that_is_no_json_is_left_out(tmp_path, content):
    locks = Locks(tmp_path / FOLDER)
    locks.acquire("driver-a", progress=PROGRESS)
    path = tmp_path / FOLDER / "driver-a.json"
    path.unlink()
    path.mkdir() if content is None else path.write_text(content)
    assert active_drivers(tmp_path) == {}
