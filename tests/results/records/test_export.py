import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records import frames as records
from fedprompt.results.records.export import export, export_folder

Write = Callable[..., Path]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_run_has_one_row_with_its_metrics_and_options(suffix, write, runs, tmp_path):
    write(seen=0.75, config={"lr": 0.5, "settings": {"fedvpt": {"tokens": 3}}})
    write(seed=1, error="it broke")
    path = tmp_path / f"all.{suffix}"
    assert export(runs, path) == 2
    frame = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    first, second = frame.sort_values("seed").to_dict("records")
    assert (first["run_id"], first["seen.mean"], first["config.lr"]) == ("r000", 0.75, 0.5)
    assert json.loads(first["config.settings"]) == {"fedvpt": {"tokens": 3}}
    assert (second["status"], second["error"], second["config.seed"]) == ("failed", "it broke", 1)
    assert pd.isna(second["seen.mean"])
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "runs"]


def test_rounds_and_clients_have_one_row_each(write, runs, tmp_path):
    write()
    assert export(runs, tmp_path / "rounds.csv", "rounds") == 3
    assert pd.read_csv(tmp_path / "rounds.csv")["round"].tolist() == [0, 1, 2]
    assert export(runs, tmp_path / "clients.csv", "clients") == 4
    counts = pd.read_csv(tmp_path / "clients.csv")["class_counts"].map(json.loads).tolist()
    assert counts == [[4, 0, 0], [1, 2, 0], [0, 0, 5], [1, 0, 1]]


def test_options_are_joined_to_their_own_runs_in_any_order(write, runs, tmp_path):
    for seed in (2, 0, 1):
        write(seed=seed, config={"lr": 10.0 + seed})
    export(runs, tmp_path / "all.csv")
    frame = pd.read_csv(tmp_path / "all.csv")
    assert frame["run_id"].tolist() == records.load(runs)["run_id"].tolist()
    assert (frame["config.lr"] == 10 + frame["seed"]).all()


def test_a_failed_export_leaves_the_old_file_and_no_temporary_file(write, runs, tmp_path, monkeypatch):
    write()
    (path := tmp_path / "all.csv").write_text("old")
    monkeypatch.setattr(os, "replace", Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(RecordError, match=r"all\.csv cannot be written: no space left on device"):
        export(runs, path)
    assert path.read_text() == "old"
    assert {p.name for p in tmp_path.iterdir()} == {"all.csv", "runs"}


def test_an_invalid_export_is_refused_with_the_reason(write, runs, tmp_path):
    write()
    with pytest.raises(RecordError, match=r"neither \.parquet nor \.csv"):
        export(runs, tmp_path / "all.xlsx")
    with pytest.raises(RecordError, match="unknown kind of row 'round': did you mean 'rounds'"):
        export(runs, tmp_path / "all.csv", "round")
    with pytest.raises(RecordError, match=r"where\.csv cannot be written: "):
        export(runs, tmp_path / "no" / "where.csv")


def test_a_folder_gets_all_three_tables_and_a_description_of_their_columns(write, runs, tmp_path):
    write()
    write(seed=1, error="it broke")
    folder = tmp_path / "new" / "exported"
    assert export_folder(runs, folder) == {"runs": 2, "rounds": 3, "clients": 4}
    assert sorted(path.name for path in folder.iterdir()) == [
        "clients.parquet", "columns.md", "croissant.json", "records.jsonl.xz", "rounds.parquet",
        "runs.parquet",
    ]  # fmt: skip
    names = {"run_id", "method", "dataset", "partition", "alpha", "setting", "seed"}
    for what in ("rounds", "clients"):
        assert names < set(pd.read_parquet(folder / f"{what}.parquet"))
    text = (folder / "columns.md").read_text()
    assert "## clients.parquet\n\n4 rows\n" in text
    assert "| `rounds_trained` | int64 | rounds in which the client trained |" in text
    assert "not described" not in text


def test_tables_load_from_an_exported_folder_as_from_the_directory(write, runs, tmp_path):
    write()
    write(seed=1)
    export_folder(runs, tmp_path / "all")
    for read in (records.load, records.rounds, records.clients):
        loaded, original = read(tmp_path / "all"), read(runs)
        pd.testing.assert_frame_equal(loaded[list(original)], original, check_dtype=False)
        assert set(read(tmp_path / "all", ["r001"])["run_id"]) == {"r001"}


@pytest.mark.parametrize("value", ["two", [2], 2**70, True, {"two": 2}])
@pytest.mark.parametrize("name", ["all.parquet", "all"])
def test_an_option_of_another_kind_than_in_other_runs_is_exported_as_text(value, name, write, runs, tmp_path):
    """A record may have been changed by hand; a parquet column has one kind."""
    write()
    write(seed=1, config={"rounds": value})
    (export if Path(name).suffix else export_folder)(runs, tmp_path / name)
    written = value if isinstance(value, str) else json.dumps(value)
    file = tmp_path / name if Path(name).suffix else tmp_path / name / "runs.parquet"
    assert sorted(pd.read_parquet(file)["config.rounds"]) == sorted(["2", written])


def test_a_directory_of_runs_is_read_itself_though_an_older_export_lies_in_it(write, runs):
    write()
    export(runs, runs / "runs.parquet")
    write(seed=1)
    assert len(records.load(runs)) == 2


def test_a_folder_without_rounds_or_with_records_of_runs_is_refused(write, runs, tmp_path):
    write()
    (tmp_path / "old").mkdir()
    export(runs, tmp_path / "old" / "runs.parquet")
    with pytest.raises(RecordError, match=r"rounds\.parquet does not exist"):
        records.rounds(tmp_path / "old")
    with pytest.raises(RecordError, match=r"runs contains the records of runs: export into another folder"):
        export_folder(runs, runs)
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"file cannot be created: "):
        export_folder(runs, tmp_path / "file")
