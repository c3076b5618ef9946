import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records import frames as records
from fedprompt.results.records.export import export

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
