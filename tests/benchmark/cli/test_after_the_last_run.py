"""What a sweep does once all of its runs are stored: it saves the table and figures, and then prints."""

import errno
import os
from unittest.mock import Mock

import pytest

from fedprompt.benchmark.output import SafeStream
from fedprompt.benchmark.scheduling import launch
from fedprompt.results.errors import RecordError
from fedprompt.results.figures import drawing
from tests.benchmark.conftest import SMALL, refused


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_table_that_cannot_be_saved_is_printed_and_the_reason_named(number, bench, directory, monkeypatch):
    monkeypatch.setattr(launch, "atomic_write", Mock(side_effect=OSError(number, os.strerror(number))))
    answer = bench("sweep", "--method", "head", "--seeds", "0,1", *SMALL, "--workers", 1, "--out", directory)
    assert answer.code == 1
    assert answer.out.splitlines()[3].startswith("head")
    (line,) = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert f"the table cannot be saved in {directory} ({os.strerror(number).lower()}); every run is stored" in line


def test_figures_that_cannot_be_saved_do_not_hide_the_table(bench, directory, monkeypatch):
    monkeypatch.setattr(launch, "atomic_write", lambda *_: None)
    monkeypatch.setattr(drawing, "draw", Mock(side_effect=RecordError("figures cannot be written: disk full")))
    answer = bench("sweep", "--method", "head", "--seeds", "0,1", *SMALL, "--workers", 1, "--out", directory)
    assert answer.code == 1
    assert answer.out.splitlines()[3].startswith("head")
    assert "error: figures cannot be written: disk full; every run is stored" in answer.err


@pytest.mark.usefixtures("no_figures")
def test_the_files_are_saved_before_anything_is_printed(bench, tmp_path, monkeypatch):
    states = []
    write = SafeStream.write
    saved = lambda: (tmp_path / "runs" / "table.txt").exists()  # noqa: E731
    monkeypatch.setattr(SafeStream, "write", lambda self, text: (states.append((text, saved())), write(self, text))[1])
    bench.ok("sweep", "--method", "head", "--seed", 0, *SMALL, "--workers", 1, "--out", "runs")
    assert [exists for text, exists in states if "1 seed; accuracies" in text] == [True]


def test_a_directory_whose_name_is_not_utf8_is_refused_before_the_first_run(bench, executed):
    refused(bench("sweep", "--method", "head", *SMALL, "--out", "runs\udcff"), r"--out runs\udcff: choose a name")
    assert executed == []
