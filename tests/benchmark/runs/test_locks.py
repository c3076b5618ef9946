import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fedprompt.benchmark.runs import locks as module
from fedprompt.benchmark.runs.locks import SILENCE, Owner, RunLocks, this_driver


@pytest.fixture
def claims(tmp_path: Path) -> RunLocks:
    return RunLocks(tmp_path / "live")


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the steady clock on by so many seconds."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def plant(claims: RunLocks, owner: Owner, run_id: str = "run") -> Path:
    """The claim of another driver."""
    other = RunLocks(claims.folder)
    other.owner = owner
    assert other.take(run_id, "its name")
    return claims.folder / f"{run_id}.claim"


ELSEWHERE = Owner("other-host", 1, "other-host boot ns", "1")
DEAD = replace(this_driver(), pid=999_999_999)  # no process has so high a number
LATER = replace(this_driver(), start="1")  # its number was given to another process since


def test_a_run_is_claimed_by_one(claims: RunLocks) -> None:
    assert claims.take("run")
    assert not RunLocks(claims.folder).take("run")
    assert RunLocks(claims.folder).take("other")
    claims.release("run")
    assert RunLocks(claims.folder).take("run")


def test_of_many_drivers_at_once_one_gets_a_run(claims: RunLocks) -> None:
    won: list[int] = []
    barrier = threading.Barrier(8)

    def contend(number: int) -> None:
        barrier.wait()
        if RunLocks(claims.folder).take("run"):
            won.append(number)

    for owner in (None, DEAD):  # a free run, and one that has to be taken over
        won.clear()
        shutil.rmtree(claims.folder, ignore_errors=True)
        if owner:
            plant(claims, owner)
        threads = [threading.Thread(target=contend, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1


@pytest.mark.parametrize("owner", [DEAD, LATER])
def test_the_run_of_a_dead_process_is_taken_over_at_once(owner: Owner, claims: RunLocks) -> None:
    plant(claims, owner)
    assert claims.take("run")
    found = claims.of("run")
    assert found is not None
    assert found.owner == this_driver()


def test_a_process_that_ended_and_that_nobody_asked_about_is_dead(claims: RunLocks) -> None:
    code = (
        "import sys; from pathlib import Path; from fedprompt.benchmark.runs.locks import Claims;"
        "RunLocks(Path(sys.argv[1])).take('run'); print('taken', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(claims.folder)], cwd=Path(__file__).parents[3],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"taken\n"
        assert not claims.take("run")
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and a zombie still
        assert claims.take("run")


def test_a_driver_elsewhere_is_dead_when_it_is_silent_long_enough(
    claims: RunLocks, steady: Callable[[float], None]
) -> None:
    path = plant(claims, ELSEWHERE)
    assert not claims.take("run")
    steady(SILENCE - 1)
    assert not claims.take("run")
    os.utime(path, (5, 5))  # a sign of life, by a clock that was set back to long ago
    steady(SILENCE - 1)
    assert not claims.take("run")
    steady(SILENCE - 1)
    assert not claims.take("run")
    steady(2)
    assert claims.take("run")


def test_a_claim_from_the_future_is_no_deadlock(claims: RunLocks, steady: Callable[[float], None]) -> None:
    path = plant(claims, ELSEWHERE)
    os.utime(path, (10**10, 10**10))  # the clock was set back since
    assert not claims.take("run")
    steady(SILENCE + 1)
    assert claims.take("run")


def test_a_claim_that_was_never_finished_is_taken_over_after_a_while(
    claims: RunLocks, steady: Callable[[float], None]
) -> None:
    claims.folder.mkdir()
    (claims.folder / "run.claim").touch()
    assert claims.of("run") is None
    assert not claims.take("run")
    steady(SILENCE + 1)
    assert claims.take("run")


def test_a_copied_claim_says_nothing_of_the_living_owner_of_the_original(
    claims: RunLocks, steady: Callable[[float], None]
) -> None:
    assert claims.take("run")
    copy = RunLocks(claims.folder.with_name("copy"))
    shutil.copytree(claims.folder, copy.folder)
    assert not copy.take("run")
    steady(SILENCE + 1)
    claims.beat()
    assert copy.take("run")
    assert not RunLocks(claims.folder).take("run")


def test_what_another_has_taken_over_is_not_given_back(claims: RunLocks) -> None:
    assert claims.take("run")
    path = claims.folder / "run.claim"
    path.unlink()
    plant(claims, ELSEWHERE)
    claims.beat()
    claims.release("run")
    assert json.loads(path.read_text())["host"] == "other-host"


def test_what_the_dead_left_is_cleared_and_the_living_s_is_not(claims: RunLocks) -> None:
    plant(claims, DEAD, "one")
    plant(claims, this_driver(), "two")
    plant(claims, ELSEWHERE, "three")
    claims.clear()
    assert [claim.run_id for claim in claims.all()] == ["three", "two"]


def test_a_claim_names_its_run_and_its_owner(claims: RunLocks) -> None:
    claims.take("run", "head dirichlet(0.5) seed 0")
    (found,) = claims.all()
    assert (found.run_id, found.name, found.lives) == ("run", "head dirichlet(0.5) seed 0", True)
    assert str(found.owner) == f"{this_driver().host}:{os.getpid()}"
    content = json.loads((claims.folder / "run.claim").read_text())
    assert asdict(this_driver()).items() <= content.items()


def test_a_claim_that_does_not_fit_on_the_disk_leaves_nothing(
    claims: RunLocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "write", full)
    with pytest.raises(OSError, match="No space"):
        claims.take("run")
    assert list(claims.folder.iterdir()) == []
