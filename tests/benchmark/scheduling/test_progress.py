import json
from functools import partial

import pytest
from rich.console import Console

from fedprompt.benchmark.runs.record import failed
from fedprompt.benchmark.scheduling import progress
from fedprompt.benchmark.scheduling.options import Shown
from fedprompt.benchmark.scheduling.progress import ConsoleProgress
from tests.benchmark.conftest import config, configs


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def done(seed):
    run = config(seeds=(seed,))
    return run.run_id, failed(run, "").result | {"status": "done"}


def left(console):
    return console.describe()["seconds_left"]


def test_the_time_left_follows_from_the_rounds_of_running_runs(clock):
    runs = configs(seeds=(0, 1, 2, 3), rounds=10)
    console = ConsoleProgress(runs)
    for run in runs[:2]:
        console.round_done(run.run_id, 0)
    assert left(console) is None
    clock.now += 30
    console.round_done(runs[0].run_id, 5)
    console.round_done(runs[1].run_id, 10)  # a run takes 40 seconds; 20 are left of one, and two are pending
    assert left(console) == pytest.approx(60)


def test_a_finished_run_counts_once(clock):
    runs = configs(seeds=(0, 1))
    console = ConsoleProgress(runs)
    console.round_done(runs[0].run_id, 0)
    clock.now += 10
    console.round_done(runs[0].run_id, 1)
    console.run_done(*done(0))
    console.round_done(runs[0].run_id, 1)  # a late report
    assert left(console) == pytest.approx(10)


def test_without_a_terminal_a_line_is_printed_every_ten_seconds(clock, capsys):
    runs = configs(seeds=(0, 1), rounds=4)
    with ConsoleProgress(runs) as console:
        console.round_done(runs[0].run_id, 1)
        assert capsys.readouterr().err == ""
        clock.now += 10
        console.round_done(runs[0].run_id, 2)
        printed = capsys.readouterr()
        assert printed.err == "0/2 runs, 27 to 33 s left; head dirichlet(0.5) seed 0 2/4\n"
        assert printed.out == ""
        console.round_done(runs[0].run_id, 3)
        assert capsys.readouterr().err == ""


def test_the_last_line_is_always_printed(clock, capsys):
    with ConsoleProgress(configs(seeds=(0, 1))) as console:
        console.run_done(*done(0))
        assert capsys.readouterr().err == ""
        clock.now += 1
        console.run_done(*done(1))
    assert capsys.readouterr().err.startswith("2/2 runs")


def test_a_failure_is_printed_at_once_and_verbatim(clock, capsys):
    with ConsoleProgress(configs(seeds=(0, 1))) as console:
        console.run_done(config().run_id, failed(config(), "ValueError: [red] brackets " + "and length " * 20).result)
    printed = capsys.readouterr().err
    assert "failed: head dirichlet(0.5) seed 0: ValueError: [red] brackets " + "and length " * 20 in printed


def test_the_time_left_is_a_range_in_human_units(clock, capsys):
    runs = configs(seeds=(0, 1))
    with ConsoleProgress(runs) as console:
        console.round_done(runs[0].run_id, 0)
        clock.now += 600
        console.run_done(*done(0))
    assert "9 to 11 min left" in capsys.readouterr().err


def test_another_thread_can_report_meanwhile(clock):
    runs = configs(seeds=(0, 1))
    console = ConsoleProgress(runs)
    for number in (0, 1):
        clock.now += 10
        for run in runs:
            console.round_done(run.run_id, number)
    ends = iter(runs)

    def meanwhile():
        if run := next(ends, None):
            console.run_done(run.run_id, {"status": "done"})
        return clock.now

    clock.monotonic = meanwhile  # describe() reads the clock after it has copied a part of the state
    state = console.describe()
    assert (state["runs"], state["running"]) == (2, [])


def test_images_per_second_count_all_runs_from_the_start(clock):
    runs = configs(seeds=(0, 1, 2), rounds=10)
    console = ConsoleProgress(runs)
    console.round_done(runs[0].run_id, 0)
    clock.now += 10
    console.round_done(runs[0].run_id, 10, 300)
    console.run_done(runs[0].run_id, {"status": "done"})
    console.round_done(runs[1].run_id, 2, 50)
    console.round_done(runs[1].run_id, 3, 100, "node-7:99")
    now = console.describe()
    assert now["images_per_second"] == pytest.approx(40)  # 400 in 10 seconds
    assert (now["runs"], now["finished"], now["failed"]) == (3, 1, 0)
    (running,) = now["running"]
    assert (running["round"], running["rounds"], running["worker"]) == (3, 10, "node-7:99")
    assert progress.line(now).startswith("1/3 runs, 40 images/s, ")
    assert json.loads(json.dumps(now)) == now


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_is_printed_verbatim_also_above_the_live_line(monkeypatch, capsys, terminal):
    table = "fedvpt:x:tokens=5  [bold]  " + "1.0 " * 50 + "\n" + "-" * 200
    if terminal:
        monkeypatch.setattr(progress, "Console", partial(Console, force_terminal=True, width=80))
    with ConsoleProgress(configs(seeds=(0, 1))) as console:
        assert (console.progress is not None) == terminal
        console.note(table)
    printed = capsys.readouterr()
    assert table in printed.err
    assert printed.out == ""


def test_a_note_is_escaped_and_bounded(capsys):
    with ConsoleProgress(configs()) as console:
        console.note("a\x1b]0;x\x07\rb" + "x" * 1_000_000)
    shown = capsys.readouterr().err
    assert shown.startswith("a\\x1b]0;x\\x07\\rbxxx")
    assert len(shown) < 300_000


def test_markup_in_a_name_is_shown_as_it_is_in_the_live_line(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ConsoleProgress(configs()) as console:
        assert console.progress is not None
        (run_id,) = console.names
        console.names[run_id] = "[/bold] \x1b]0;x\x07"
        console.round_done(run_id, 0)
        assert "[/bold] \\x1b]0;x\\x07" in console.progress.tasks[0].fields["note"]
        console.progress.refresh()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (Shown(), ["note", "failed: head", "2/2 runs"]),
        (Shown(progress=False), ["note", "failed: head"]),
        (Shown(progress=False, notes=False), ["failed: head"]),
        (Shown(progress=False, runs=True), ["note", "failed: head", "done: head dirichlet(0.5) seed 1, 2.5 s"]),
    ],
)
def test_failures_are_shown_however_little_else_is(shown, expected, capsys):
    with ConsoleProgress(configs(seeds=(0, 1)), (), shown) as console:
        console.note("note")
        console.run_done(config().run_id, failed(config(), "ValueError: no").result)
        run_id, result = done(1)
        console.run_done(run_id, result | {"seconds": {"total": 2.5}})
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith(text) for line, text in zip(lines, expected, strict=True)] == [True] * len(expected)
