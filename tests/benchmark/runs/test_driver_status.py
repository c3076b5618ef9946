import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from fedprompt.benchmark.runs import driver_status as module
from fedprompt.benchmark.runs.driver_status import FOLDER, DriverStatus, under_way
from fedprompt.benchmark.runs.locks import RunLocks
from tests.benchmark.runs.test_locks import DEAD, ELSEWHERE


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT", 0.01)


def until(condition: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_driver_tells_how_far_it_is_and_goes_without_a_trace(tmp_path: Path) -> None:
    with DriverStatus(tmp_path, lambda: {"runs": 3}) as claims:
        claims.take("run")
        before = os.stat(tmp_path / FOLDER / "run.claim").st_mtime_ns
        until(lambda: under_way(tmp_path))
        until(lambda: os.stat(tmp_path / FOLDER / "run.claim").st_mtime_ns != before)
        (found,) = under_way(tmp_path)
        assert found.owner.pid == os.getpid()
        assert found.content["runs"] == 3
    assert list(tmp_path.iterdir()) == []
    assert under_way(tmp_path) == []


def test_of_two_drivers_the_first_to_end_leaves_the_other_s_claims(tmp_path: Path) -> None:
    other = RunLocks(tmp_path / FOLDER)
    other.take("theirs")
    with DriverStatus(tmp_path, dict) as claims:
        claims.take("mine")
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["theirs.claim"]


def test_what_a_dead_driver_told_is_not_believed_and_is_cleared_away(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    for name, owner, age in (("a", DEAD, 0), ("b", ELSEWHERE, 0), ("c", ELSEWHERE, 10**6)):
        content = {"owner": asdict(owner), "time": time.time() - age}
        (tmp_path / FOLDER / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / FOLDER / "broken.json").write_text("{")
    assert [progress.owner for progress in under_way(tmp_path)] == [ELSEWHERE]
    with DriverStatus(tmp_path, dict):
        pass
    assert not (tmp_path / FOLDER / "a.json").exists()
    assert (tmp_path / FOLDER / "b.json").exists()


def test_a_full_disk_keeps_no_half_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []

    def full(path: Path, *_: object, **__: object) -> None:
        path.touch()
        tried.append(path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with DriverStatus(tmp_path, dict):
        until(lambda: tried)
    assert list(tmp_path.iterdir()) == []
