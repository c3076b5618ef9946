import os
import signal
import subprocess
import sys
import time

import pytest

from fedprompt.benchmark.errors import Terminated
from fedprompt.benchmark.scheduling import signals
from fedprompt.benchmark.scheduling.signals import Signals
from tests.benchmark.conftest import SMALL
from tests.chaos.processes import ROOT

BENCH = """
import os, signal, sys, types
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import {module} as module
original = module.{name}
def signalled(*given, **named):
    for number in ({number}, signal.SIGTERM, signal.SIGINT):  # only the first one counts
        os.kill(os.getpid(), number)
    return original(*given, **named)
module.{name} = signalled
from fedprompt.benchmark.cli import main
main()
"""
"""`bench` with signals at the start of a function."""


@pytest.fixture(autouse=True)
def _sigint():
    """Restores the default SIGINT handler: shells let background processes ignore the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("fedprompt.benchmark.config.options", "options"),
        ("fedprompt.benchmark.scheduling.scheduler", "preflight"),
        ("fedprompt.benchmark.runs.execute", "simulator"),
        ("fedprompt.benchmark.runs.record", "done"),
        ("fedprompt.results.records.frames", "load"),
    ],
)
def test_signals_in_every_phase_end_with_one_message(module, name, number, tmp_path):
    code = BENCH.format(module=module, name=name, number=int(number))
    words = ("sweep", "--methods", "head", "--seed", 0, *SMALL, "--workers", 1, "--out", tmp_path / "runs")
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 128 + number, done.stderr
    assert done.stdout == ""
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert done.stderr.count(f"{word}. Finished runs are saved; run the same command again to resume.\n") == 1
    assert done.stderr.count("again to resume") == 1
    assert "Traceback" not in done.stderr


def test_a_process_that_hangs_after_a_signal_ends_with_its_number():
    code = (
        "import signal, time\nfrom fedprompt.benchmark.scheduling import signals\nsignals.TIME_LIMIT = 0.2\n"
        "def ignore(*_): pass\nsignal.signal(signal.SIGTERM, ignore)\n"
        "with signals.time_limit():\n    print(flush=True)\n    while True: time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143


def test_a_process_without_a_signal_has_no_time_limit(monkeypatch):
    monkeypatch.setattr(signals, "TIME_LIMIT", 0.0)
    before = signal.set_wakeup_fd(-1)
    with signals.time_limit():
        assert signal.set_wakeup_fd(-1) != before
    time.sleep(0.05)
    assert signal.set_wakeup_fd(before) == before


def test_a_signal_within_an_inner_context_is_raised_at_its_end_and_later_ones_are_ignored():
    def inner():
        with Signals():
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("end")

    reached = []
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored
    with Signals(interrupting=True) as outer:
        with pytest.raises(Terminated) as raised:
            inner()
        assert raised.value.number == signal.SIGHUP
        os.kill(os.getpid(), signal.SIGTERM)
        assert outer.pending is raised.value
    assert reached == ["end"]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals(interrupting=True) as context:
            os.kill(os.getpid(), signal.SIGHUP)
            assert context.pending is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_body_with_a_grace_period_ends_by_itself_or_is_interrupted_after_it():
    def body(seconds):
        with Signals() as context, context.interruptible(grace=0.2):
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append(context.pending is not None)
            time.sleep(seconds)
            reached.append("end")

    reached = []
    body(0.0)
    with pytest.raises(Terminated):
        body(20.0)
    assert reached == [True, "end", True]


def test_the_first_signal_interrupts_an_interruptible_body():
    def body():
        with Signals() as context, context.interruptible():
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("it was not interrupted")

    with pytest.raises(KeyboardInterrupt):
        body()
