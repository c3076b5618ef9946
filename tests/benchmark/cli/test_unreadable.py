"""A record that cannot be read does not block the commands that show a directory; an output that cannot be written."""

import errno
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from fedprompt.results.records import frames
from tests.benchmark.conftest import SMALL, config, refused


def run_id():
    """The run that is broken: without it, the two methods still have a seed in common."""
    return config(methods=("head",), seeds=(1,)).run_id


@pytest.fixture
def broken(directory, tmp_path):
    """A copy of the directory in which the record of one run is cut off."""
    copy = tmp_path / "runs"
    shutil.copytree(directory, copy)
    (copy / run_id() / "result.json").write_text('{"format": 1, "run_')
    return copy


SHOWING = [
    ["status"],
    ["table"],
    ["table", "--prior", "--json"],
    ["figure", "per_client"],
    ["report"],
    ["verify"],
    ["compare", "fedvpt", "head"],
    ["compare", "fedvpt", "head", "--clients"],
    ["compare", "--published"],
    ["export", "out.csv"],
    ["export", "exported"],
]


@pytest.mark.parametrize("words", SHOWING, ids=" ".join)
def test_an_unreadable_record_is_listed_once_and_the_rest_is_shown(words, bench, broken):
    answer = bench(words[0], broken, *words[1:])
    assert answer.code == 1
    listed = [line for line in answer.err.splitlines() if line.startswith("left out: ")]
    assert len(listed) == 1
    assert f"{run_id()}/result.json" in listed[0]
    assert "Traceback" not in answer.err


def test_the_readable_runs_are_in_the_answer(bench, broken):
    answer = bench("table", broken, "--json")
    assert "fedvpt" in answer.out
    assert json.loads(bench("status", broken, "--json").out)["done"] == 2
    bench("export", broken, "out.csv")
    assert len(pd.read_csv("out.csv")) == 3


def test_a_directory_without_any_readable_record_is_refused(bench, broken):
    for path in broken.glob("*/result.json"):
        path.write_text("{")
    answer = bench("table", broken)
    assert answer.code == 2
    lines = answer.err.splitlines()
    assert lines[-1] == f"error: {broken} contains no run that can be read"
    assert len(lines) == 5


@pytest.mark.parametrize("words", [["report"], ["figure", "per_client"], ["export", "exported"]], ids=" ".join)
def test_an_unreadable_file_of_clients_is_listed_and_the_rest_is_shown(words, bench, directory, tmp_path):
    copy = tmp_path / "runs"
    shutil.copytree(directory, copy)
    (copy / run_id() / "clients.parquet").write_bytes(b"PAR1")
    answer = bench(words[0], copy, *words[1:])
    assert answer.code == 1
    listed = [line for line in answer.err.splitlines() if line.startswith("left out: ")]
    assert len(listed) == 1
    assert "clients.parquet cannot be read" in listed.pop()


def test_clients_that_can_be_read_keep_the_names_of_their_run(directory, tmp_path):
    copy, errors = tmp_path / "runs", []
    shutil.copytree(directory, copy)
    (copy / run_id() / "clients.parquet").unlink()
    found = frames.clients(copy, unreadable=errors.append)
    whole = frames.clients(directory)
    pd.testing.assert_frame_equal(found, whole[whole["run_id"] != run_id()].reset_index(drop=True))
    assert len(errors) == 1


def test_a_record_without_read_permission_is_named(tmp_path):
    from fedprompt.results.errors import RecordError
    from fedprompt.results.records import files

    path = tmp_path / "result.json"
    path.mkdir()  # cannot be read as a file, also by root
    with pytest.raises(RecordError, match=r"result.json cannot be read \(is a directory\)"):
        files.read_record(path)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["figure", "per_client", "--out", "file/x"], "file/x cannot be written: not a directory"),
        (["figure", "per_client", "--out", "file"], "file cannot be written: file exists"),
        (["report", "--out", "file/x.html"], "file/x.html cannot be written: file exists"),
        (["report", "--out", "folder"], "folder cannot be written: is a directory"),
        (["export", "file/x.csv"], "file/x.csv cannot be written: not a directory"),
        (["export", "file/x"], "file/x cannot be created: not a directory"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_in_one_line(words, named, bench, directory, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    answer = bench(words[0], directory, *words[1:])
    refused(answer, named)
    assert len(answer.err.splitlines()) == 1


def test_tuning_refuses_an_output_that_cannot_be_written_before_its_first_run(bench, tmp_path, executed):
    (tmp_path / "file").write_text("")
    refused(bench("tune", "--methods", "head", "--to", "file/x.yaml"), "--to file/x.yaml cannot be written")
    refused(bench("tune", "--methods", "head", "--to", "file/a/x.yaml", "--dry-run"), "--to file/a/x.yaml cannot be")
    assert executed == []


GRID = ("--methods", "head,fedvpt", "--seeds", "0,1", *SMALL)


def left_out(answer):
    """The runs that an answer lists as left out."""
    return [line.rpartition("/")[0].rpartition("/")[2] for line in answer.err.splitlines() if "left out: " in line]


@pytest.mark.usefixtures("no_figures")
def test_a_sweep_runs_and_shows_the_rest_and_keeps_the_unreadable_record(bench, broken, executed):
    content = (broken / run_id() / "result.json").read_text()
    answer = bench("sweep", *GRID, "--workers", 1, "--out", broken)
    assert (answer.code, left_out(answer)) == (1, [run_id()])
    assert "4 runs, 2 already done" in answer.err
    assert executed == [config(methods=("fedvpt",), seeds=(1,)).run_id]  # the one that had failed
    assert "fedvpt" in answer.out
    assert (broken / run_id() / "result.json").read_text() == content


@pytest.mark.usefixtures("no_figures")
def test_an_unreadable_record_outside_the_grid_does_not_stop_a_run(bench, broken):
    bench.ok("run", "--method", "head", "--seed", 2, *SMALL, "--out", broken)
    bench.ok("plan", "--method", "head", "--seed", 2, *SMALL, "--out", broken)


def test_one_run_whose_record_is_unreadable_is_refused(bench, broken):
    refused(bench("run", "--method", "head", "--seed", 1, *SMALL, "--out", broken), run_id(), "delete its directory")


@pytest.mark.usefixtures("no_figures")
def test_retry_repeats_the_readable_failed_runs(bench, broken, executed):
    failed_run = config(methods=("fedvpt",), seeds=(1,)).run_id
    answer = bench("retry", broken, "--workers", 1)
    assert (answer.code, executed, left_out(answer)) == (1, [failed_run], [run_id()])


def test_retry_leaves_out_a_failed_run_whose_configuration_is_unreadable(bench, broken, executed):
    failed_run = config(methods=("fedvpt",), seeds=(1,)).run_id
    (broken / failed_run / "config.json").write_text("{")
    answer = bench("retry", broken, "--workers", 1)
    assert (answer.code, executed) == (1, [])
    assert sorted(left_out(answer)) == sorted([failed_run, run_id()])


def test_prune_keeps_an_unreadable_record(bench, broken):
    (broken / run_id() / "checkpoint.safetensors").touch()
    answer = bench("prune", broken, "--unfinished", "--yes")
    assert (answer.code, left_out(answer)) == (1, [run_id()])
    assert (broken / run_id()).is_dir()
    assert "failed: ZeroDivisionError" in answer.out


def test_a_plan_counts_an_unreadable_record_neither_as_done_nor_as_to_run(bench, broken):
    answer = bench("plan", *GRID, "--out", broken)
    assert (answer.code, left_out(answer)) == (1, [run_id()])
    assert "4 runs: 2 done, 1 to run" in answer.out


def test_the_seeds_to_detect_a_difference_come_from_the_readable_runs(bench, broken):
    answer = bench("plan", "--detect", 5, "--out", broken)
    assert left_out(answer) == [run_id()]


def test_a_directory_that_may_not_be_entered_is_refused_in_one_line(bench, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", denied)
    refused(bench("status", "hidden"), "hidden: permission denied; name another file, or change its permissions.")
