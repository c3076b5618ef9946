import json
from typing import Any

import pytest

from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.sweep import progress as watch
from fedprompt.benchmark.sweep.progress import ConsoleProgress
from tests.benchmark.conftest import config, configs


class Clock:
    """A clock that stands still until it is told."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watch, "time", clock)
    return clock


def done(seed: int) -> tuple[str, dict[str, Any]]:
    run = config(seeds=(seed,))
    return run.run_id, failed(run, "").result | {"status": "done"}


def test_the_time_left_follows_runs_and_rounds_done(clock: Clock) -> None:
    runs = configs(seeds=(0, 1, 2, 3), rounds=10)
    screen = ConsoleProgress(runs)
    assert screen.left() is None
    clock.now += 30
    screen.round_done(runs[0].run_id, 5)
    screen.round_done(runs[1].run_id, 10)  # one and a half of four runs in 30 seconds: 50 more
    assert screen.left() == pytest.approx(50)


def test_a_run_that_ended_counts_once(clock: Clock) -> None:
    runs = configs(seeds=(0, 1))
    screen = ConsoleProgress(runs)
    clock.now += 10
    screen.round_done(runs[0].run_id, 1)
    screen.run_done(*done(0))
    screen.round_done(runs[0].run_id, 1)  # news that came late
    assert screen.left() == pytest.approx(10)


def test_without_a_terminal_a_line_comes_every_ten_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    runs = configs(seeds=(0, 1), rounds=4)
    with ConsoleProgress(runs) as screen:
        screen.round_done(runs[0].run_id, 1)
        assert capsys.readouterr().err == ""
        clock.now += 10
        screen.round_done(runs[0].run_id, 2)
        said = capsys.readouterr()
        assert said.err == "0/2 runs, about 30 s left; head dirichlet(0.5) seed 0 2/4\n"
        assert said.out == ""
        screen.round_done(runs[0].run_id, 3)
        assert capsys.readouterr().err == ""


def test_the_last_line_is_always_shown(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleProgress(configs(seeds=(0, 1))) as screen:
        screen.run_done(*done(0))
        assert capsys.readouterr().err == ""
        clock.now += 1
        screen.run_done(*done(1))
    assert capsys.readouterr().err.startswith("2/2 runs")


def test_a_failure_is_shown_at_once_and_as_it_is(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleProgress(configs(seeds=(0, 1))) as screen:
        screen.run_done(config().run_id, failed(config(), "ValueError: [red] brackets " + "and length " * 20).result)
    said = capsys.readouterr().err
    assert "failed: head dirichlet(0.5) seed 0: ValueError: [red] brackets " + "and length " * 20 in said


def test_long_times_are_told_in_minutes(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    runs = configs(seeds=(0, 1))
    with ConsoleProgress(runs) as screen:
        clock.now += 120
        screen.run_done(*done(0))
    assert "about 2 min left" in capsys.readouterr().err


def test_rounds_told_by_another_thread_meanwhile_do_no_harm() -> None:
    runs = configs(seeds=(0, 1))
    screen = ConsoleProgress(runs)
    screen.round_done(runs[0].run_id, 1)
    screen.round_done(runs[1].run_id, 1)

    class Meanwhile(dict[str, int]):
        def __getitem__(self, key: str) -> int:
            screen.reached.pop(runs[1].run_id, None)  # the other thread has just been told that this run is done
            return super().__getitem__(key)

    screen.rounds = Meanwhile(screen.rounds)
    assert screen.left() is not None


def test_images_a_second_are_those_of_all_runs_since_the_beginning(clock: Clock) -> None:
    runs = configs(seeds=(0, 1, 2), rounds=10)
    screen = ConsoleProgress(runs)
    clock.now += 10
    screen.round_done(runs[0].run_id, 10, 300)
    screen.run_done(runs[0].run_id, {"status": "done"})
    screen.round_done(runs[1].run_id, 2, 50)
    screen.round_done(runs[1].run_id, 3, 100, "node-7:99")
    now = screen.describe()
    assert now["images_per_second"] == pytest.approx(40)  # 400 in 10 seconds
    assert (now["runs"], now["finished"], now["failed"]) == (3, 1, 0)
    (running,) = now["running"]
    assert (running["round"], running["rounds"], running["worker"]) == (3, 10, "node-7:99")
    assert watch.line(now).startswith("1/3 runs, 40 images/s, about ")
    assert json.loads(json.dumps(now)) == now
