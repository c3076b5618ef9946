import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from unittest.mock import Mock

import pytest

from fedprompt.benchmark.runs import locks as module
from fedprompt.benchmark.runs.locks import Locks

HERE = {"host": socket.gethostname(), "pid": os.getpid()}  # a living process, which does not hold the lock
DEAD = {"host": socket.gethostname(), "pid": 999_999_999}  # no process has such a large id
ELSEWHERE = {"host": "other-host", "pid": 1}
HOLD = (
    "import sys; from pathlib import Path; from fedprompt.benchmark.runs.locks import Locks\n"
    "locks = Locks(Path(sys.argv[1])); locks.acquire('run', run='its name'); print('locked', flush=True)\n"
    "sys.stdin.read()"
)


@pytest.fixture
def locks(tmp_path):
    return Locks(tmp_path / "live")


def abandon(folder, name, **info):
    """Creates the files that a killed driver leaves."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.lock").touch()
    (folder / f"{name}.json").write_text(json.dumps(info))


def test_a_run_is_locked_by_one_driver_at_a_time(locks):
    assert locks.acquire("run")
    assert not Locks(locks.folder).acquire("run")
    assert Locks(locks.folder).acquire("other")
    locks.release("run")
    assert Locks(locks.folder).acquire("run")


@pytest.mark.parametrize("abandoned", [False, True])
def test_one_of_many_drivers_gets_a_run(abandoned, locks):
    if abandoned:
        abandon(locks.folder, "run", **DEAD)
    drivers = [Locks(locks.folder) for _ in range(8)]
    barrier = threading.Barrier(len(drivers))

    def contend(driver):
        barrier.wait()
        driver.acquire("run")

    threads = [threading.Thread(target=contend, args=(driver,)) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("run" in driver.held for driver in drivers) == 1


@pytest.mark.parametrize("driver", [DEAD, HERE, ELSEWHERE])
def test_an_abandoned_run_is_taken_over_at_once(driver, locks):
    abandon(locks.folder, "run", **driver)
    found = locks.get("run")
    assert (found.held, found.driver) == (False, f"{driver['host']}:{driver['pid']}")
    assert locks.acquire("run")
    found = locks.get("run")
    assert (found.held, found.driver) == (True, f"{HERE['host']}:{HERE['pid']}")


def test_the_run_of_a_killed_driver_is_free_even_while_the_process_is_a_zombie(locks):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(locks.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"locked\n"
        assert not locks.acquire("run")
        (found,) = locks.all()
        assert (found.name, found.info["run"], found.held) == ("run", "its name", True)
        assert found.driver == f"{socket.gethostname()}:{child.pid}"
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert locks.acquire("run")


@pytest.mark.parametrize("time", [5, 10**10])
def test_wrong_clocks_do_not_matter(time, locks):
    assert locks.acquire("held")
    abandon(locks.folder, "abandoned", **ELSEWHERE)
    for path in locks.folder.iterdir():
        os.utime(path, (time, time))
    other = Locks(locks.folder)
    assert not other.acquire("held")
    assert other.acquire("abandoned")


def test_a_lock_without_information_is_taken_over(locks):
    locks.folder.mkdir()
    (locks.folder / "run.lock").touch()
    assert locks.acquire("run")


def test_a_copied_directory_holds_no_locks(locks):
    assert locks.acquire("run")
    copy = Locks(locks.folder.with_name("copy"))
    shutil.copytree(locks.folder, copy.folder)
    assert [lock.held for lock in copy.all()] == [False]
    assert copy.acquire("run")
    assert not Locks(locks.folder).acquire("run")


def test_files_of_an_older_version_are_ignored(locks):
    locks.folder.mkdir()
    for name in ("run.claim", f"{HERE['host']}-{HERE['pid']}.json"):
        (locks.folder / name).write_text(json.dumps({"host": "other-host", "pid": 1, "name": "run", "inode": 1}))
    assert list(locks.all()) == []
    assert locks.acquire("run")
    locks.release("run")
    assert (locks.folder / "run.claim").exists()


def test_abandoned_locks_are_deleted_and_held_ones_are_not(locks):
    abandon(locks.folder, "abandoned", **DEAD)
    (locks.folder / ".abandoned.json.99").touch()  # its driver was killed while writing
    assert Locks(locks.folder).get("abandoned") is not None
    assert locks.acquire("held")
    Locks(locks.folder).delete_abandoned()
    assert sorted(path.name for path in locks.folder.iterdir()) == ["held.json", "held.lock"]
    locks.release("held")
    assert not locks.folder.exists()


def test_looking_at_a_lock_creates_no_file(locks):
    assert locks.get("run") is None
    assert list(locks.all()) == []
    assert not locks.folder.exists()


def test_the_information_of_a_held_lock_can_be_replaced(locks):
    assert locks.acquire("run", progress=1)
    assert locks.acquire("run", progress=2)
    (found,) = Locks(locks.folder).all()
    assert found.info == {**HERE, "progress": 2}


def test_a_lock_that_does_not_fit_on_the_disk_is_not_held_and_leaves_no_file(locks, monkeypatch):
    monkeypatch.setattr(module.json_files, "write", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        locks.acquire("run")
    assert not locks.held
    assert not locks.folder.exists()


def test_a_lock_is_released_even_if_its_files_cannot_be_deleted(locks, monkeypatch):
    assert locks.acquire("run")
    with monkeypatch.context() as broken:
        broken.setattr(type(locks.folder), "unlink", Mock(side_effect=OSError(errno.EBUSY, "Device or resource busy")))
        locks.release("run")
    assert not locks.held
    assert Locks(locks.folder).acquire("run")


def test_a_deleted_directory_is_not_created_again(tmp_path):
    locks = Locks(tmp_path / "runs" / "live")
    assert not locks.acquire("run")
    assert list(tmp_path.iterdir()) == []
