"""Runs of an exported folder are those of the directory that it was made from."""

import pandas as pd
import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.figures.drawing import draw
from fedprompt.results.records.export import export, export_folder
from fedprompt.results.records.exported import ExportedRuns, open_runs
from fedprompt.results.records.frames import Runs
from fedprompt.results.report import write as write_report


@pytest.fixture
def folder(write, runs, tmp_path):
    write(config={"lr": 0.5, "tokens": 3, "settings": {"fedvpt": {"tokens": 3}}}, environment={"torch": "2.0"})
    write(config={"lr": 0.1, "tokens": None}, deviations=["no warm-up"])
    write(method="head", seed=1, error="it broke")
    export_folder(runs, tmp_path / "exported")
    return tmp_path / "exported"


def test_the_source_decides_how_runs_are_read(folder, runs):
    assert type(open_runs(folder)) is ExportedRuns
    assert type(open_runs(folder / "runs.parquet")) is ExportedRuns
    assert type(open_runs(runs)) is Runs


def test_tables_and_records_are_those_of_the_directory(folder, runs):
    exported, read = open_runs(folder), Runs(runs)
    pd.testing.assert_frame_equal(exported.frame[list(read.frame)], read.frame, check_dtype=False)
    assert not any(name.startswith(("config.", "environment.")) for name in exported.frame)
    for ours, theirs in zip(exported.records, read.records, strict=True):
        for key in ("run_id", "method", "alpha", "seed", "error"):
            assert ours[key] == theirs[key]
        assert {k: v for k, v in ours["config"].items() if v is not None} == {
            k: v for k, v in theirs["config"].items() if v is not None
        }
    assert [record["deviations"] for record in exported.records] == [[], ["no warm-up"], []] or [
        record["deviations"] for record in exported.records
    ] == [["no warm-up"], [], []]
    assert type(next(r["config"]["tokens"] for r in exported.records if r["config"]["tokens"])) is int
    pd.testing.assert_frame_equal(exported.rounds(["round"]), read.rounds(["round"]), check_dtype=False)
    first, expected = exported.first_seed_clients(), read.first_seed_clients()
    assert first[["run_id", "client"]].values.tolist() == expected[["run_id", "client"]].values.tolist()


def test_runs_that_differ_in_an_option_have_its_value(folder, runs):
    columns = ["run_id", "value", "method"]
    ours, theirs = open_runs(folder).swept("lr")[columns], Runs(runs).swept("lr")[columns]
    assert ours.sort_values("run_id").values.tolist() == theirs.sort_values("run_id").values.tolist()


def test_the_report_and_figures_read_the_folder(folder, tmp_path, write, runs):
    assert "it broke" not in (text := write_report(folder, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "<title>exported" in text
    drawn = draw(folder, ["accuracy_over_rounds"], tmp_path / "one", ("png",))
    expected = draw(runs, ["accuracy_over_rounds"], tmp_path / "two", ("png",))
    assert drawn[1].read_text() == expected[1].read_text()


def test_what_an_export_lacks_is_said(folder, runs, tmp_path):
    with pytest.raises(RecordError, match="contains none of the requested runs"):
        open_runs(folder, ["r999"])
    export(runs, tmp_path / "alone.parquet")
    alone = open_runs(tmp_path / "alone.parquet")
    assert len(alone.frame) == 3
    (folder / "rounds.parquet").unlink()
    with pytest.raises(RecordError, match=r"rounds\.parquet does not exist"):
        open_runs(folder).rounds()


def test_an_option_that_an_older_run_lacks_stays_absent_beside_a_run_that_has_it(write, runs, tmp_path):
    """Read as None, it would be an invalid value in place of the earlier default."""
    write()
    write(seed=1, config={"personal_lr_factor": 0.3, "optimizer": "adam", "eval_at": None})
    export_folder(runs, tmp_path / "exported")
    configs = {record["seed"]: record["config"] for record in open_runs(tmp_path / "exported").records}
    older, newer = configs[0], configs[1]
    assert not {"personal_lr_factor", "optimizer"} & older.keys()
    assert (newer["personal_lr_factor"], newer["optimizer"], newer["eval_at"]) == (0.3, "adam", None)
