"""Results are saved after each check, continued where nothing has changed, and shown as a table and a picture."""

import json

import pytest

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.gpu_check import check_all as module
from fedprompt.benchmark.gpu_check.checks import CHECKS
from fedprompt.benchmark.gpu_check.report import draw, passed, table
from fedprompt.benchmark.gpu_check.results import FILE, Results
from fedprompt.benchmark.gpu_check.supervisor import Outcome

GOOD = Outcome("done", 2.0, {"answers": [{"question": "q", "measured": "3", "wanted": "2", "ok": True}]})
FAULT = Outcome("done", 2.0, {"answers": [{"question": "q", "measured": "1", "wanted": "2", "ok": False}]})
LATE = Outcome("timed out", 9.0, {"answers": []}, "not finished after 9 s")


class Checked:
    """A supervisor whose checks all end well, except the one that is interrupted."""

    def __init__(self, interrupted=None):
        self.interrupted, self.names = interrupted, []

    def start(self):
        pass

    def run(self, function, arguments, seconds):
        if arguments[0] == self.interrupted:
            raise KeyboardInterrupt
        self.names.append(arguments[0])
        return GOOD


def test_the_time_limits_leave_the_processes_time_to_start_within_eight_minutes():
    assert sum(check.seconds for check in CHECKS.values()) <= 470


def test_an_interrupted_command_continues_with_the_checks_that_are_missing(monkeypatch, tmp_path):
    names = list(CHECKS)
    for interrupted, expected in ((names[2], names[:2]), (None, names[2:])):
        supervisor = Checked(interrupted)
        monkeypatch.setattr(module, "Supervisor", lambda supervisor=supervisor: supervisor)
        try:
            checks = module.check_all("cpu", True, tmp_path)
        except KeyboardInterrupt:
            assert list(json.loads((tmp_path / FILE).read_text())["checks"]) == names[:2]
        assert supervisor.names == expected
    assert list(checks) == names
    assert passed(checks)


def test_results_of_another_size_and_checks_that_did_not_end_are_repeated(tmp_path):
    first = Results(tmp_path, "cpu", True)
    first.add("device", GOOD)
    first.add("bf16", LATE)
    assert Results(tmp_path, "cpu", True).ended("device")
    assert not Results(tmp_path, "cpu", True).ended("bf16")
    assert not Results(tmp_path, "cpu", False).ended("device")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--out"):
        Results(tmp_path / "file", "cpu", True)


def test_a_fault_and_a_check_that_did_not_end_are_shown(tmp_path):
    results = Results(tmp_path, "cpu", True)
    for name, outcome in (("device", GOOD), ("methods", FAULT), ("bf16", LATE)):
        results.add(name, outcome)
        assert passed(results.checks) == (name == "device")
    assert table(results.checks).splitlines() == [
        "ok     device          q: 3  (wanted: 2)",
        "FAULT  methods         q: 1  (wanted: 2)",
        "FAULT  bf16            timed out: not finished after 9 s",
    ]


def test_speeds_are_drawn_and_nothing_without_any(tmp_path):
    cells = [{"kind": kind, "batch": 16, "cohort": 4, "rate": 9.0, "share": 0.9} for kind in ("fused", "sequential")]
    speed = {"backbone": "a vit", "precision": "bf16", "bare": {16: 10.0}, "cells": cells}
    results, picture = Results(tmp_path, "cpu", True), tmp_path / "speeds.png"
    results.add("device", GOOD)
    assert not draw(results.checks, picture)
    results.add("speed-base", Outcome("done", 2.0, {"answers": [], "data": {"throughput": speed}}))
    assert draw(results.checks, picture)
    assert picture.read_bytes()[:4] == b"\x89PNG"
