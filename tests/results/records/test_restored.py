"""Runs of an exported folder are rebuilt with the records and tables that they had."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records.export import export_folder
from fedprompt.results.records.restored import restored
from tests.results.records.packed import lines, put


@pytest.fixture
def folder(write, runs, tmp_path):
    """A folder of a failed run and two runs whose tables differ in their columns and types."""
    one, other = write(seed=0, model={"kept": "server", "digest": "0"}), write(seed=1)
    for place, rounds, clients in (
        (one, {"train_steps": 2, "train_gate": 0.5, "empty": None}, {"domain": "sketch"}),
        (other, {"empty": 1.0}, {"domain": None, "rounds_waited": np.int64(3), "classes": [[0], [1], [2], []]}),
    ):
        for what, added in (("rounds", rounds), ("clients", clients)):
            table = pd.read_parquet(place / f"{what}.parquet").assign(**added)
            table.to_parquet(place / f"{what}.parquet", index=False)
    write(method="head", error="it broke")
    export_folder(runs, tmp_path / "exported")
    return tmp_path / "exported"


def test_every_run_has_its_own_columns_types_and_rows(folder, runs):
    found = {run.result["run_id"]: run for run in restored(folder)}
    assert sorted(found) == ["r000", "r001", "r002"]
    for run_id in ("r000", "r001"):
        for what in ("rounds", "clients"):
            expected = pq.read_table(runs / run_id / f"{what}.parquet")
            table = found[run_id].tables[what]
            assert table.column_names == expected.column_names
            assert table.to_pydict().__repr__() == expected.to_pydict().__repr__()  # nan equals nan, 1 is not 1.0
    assert "double" in str(pq.read_schema(folder / "rounds.parquet").field("train_steps").type)
    assert found["r000"].tables["rounds"].schema.field("train_steps").type == "int64"
    assert found["r002"].tables == {}
    for run_id in ("r001", "r002"):
        assert found[run_id].result == json.loads((runs / run_id / "result.json").read_text())


def test_a_record_does_not_name_a_model_that_the_folder_lacks(folder):
    assert all("model" not in run.result for run in restored(folder))
    assert any("model" in line["result"] for line in lines(folder))


def changed(folder, what, change):
    path = folder / f"{what}.parquet"
    change(pd.read_parquet(path)).to_parquet(path, index=False)


@pytest.mark.parametrize(
    ("what", "change", "message"),
    [
        ("rounds", lambda t: t[t["run_id"] != "r001"], r"rounds\.parquet contains rows of other runs than records"),
        ("clients", lambda t: t.assign(run_id=t["run_id"] + "x"), r"clients\.parquet contains rows of other runs"),
        ("rounds", lambda t: t.drop(columns="train_loss"), r"rounds\.parquet does not fit the types .*train_loss"),
        ("rounds", lambda t: t.assign(train_steps=t["train_steps"] + 0.5), r"does not fit the types in .*truncated"),
        ("rounds", lambda t: t.assign(empty=1.0), r"does not fit the types in .*null"),
        ("rounds", lambda t: t.assign(seen_mean=np.inf), r"infinity in the column seen_mean of run r00"),
        (
            "clients",
            lambda t: t.assign(class_counts=1),
            r"other than lists of whole numbers in the column class_counts",
        ),
        ("clients", lambda t: t.assign(accuracy=[[1.0]] * len(t)), r"other than numbers in the column accuracy"),
    ],
)
def test_tables_that_do_not_fit_the_records_are_refused(what, change, message, folder):
    changed(folder, what, change)
    with pytest.raises(RecordError, match=f"{message}.*export the runs again") as refused:
        restored(folder)
    assert len(str(refused.value).splitlines()) == 1


def test_a_missing_table_is_refused(folder):
    (folder / "clients.parquet").unlink()
    with pytest.raises(RecordError, match=r"clients\.parquet does not exist"):
        restored(folder)


def test_a_run_whose_columns_were_removed_is_refused(folder):
    content = lines(folder)
    content[0]["columns"] = {}
    put(folder, content)
    with pytest.raises(RecordError, match="contains rows of other runs"):
        restored(folder)
