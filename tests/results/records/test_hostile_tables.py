"""Tables of a run that were changed: the run is left out, and the others remain."""

import errno
from pathlib import Path

import pandas as pd
import pytest
from pyarrow import parquet

from fedprompt.results.errors import RecordError
from fedprompt.results.records import frames
from fedprompt.results.records.files import read_parquet

INFINITE = float("inf")
WRONG = [
    ("rounds", {"seen_mean": ["a"] * 3}, "something other than numbers in the column seen_mean"),
    ("rounds", {"round": [[1]] * 3}, "something other than whole numbers in the column round"),
    ("rounds", {"round": pd.array([1, None, 2], dtype="Int64")}, "nothing in a row of the column round"),
    ("rounds", {"seen_mean": [True] * 3}, "something other than numbers in the column seen_mean"),
    (
        "rounds",
        {"seen_mean": [pd.Timestamp(0)] * 3},
        "something other than numbers in the column seen_mean",
    ),
    ("rounds", {"seen_mean": [INFINITE] * 3}, "infinity in the column seen_mean"),
    ("rounds", {"upload_bytes": [2**63 - 1] * 3}, "a number beyond 9e15 in the column upload_bytes"),
    ("clients", {"test_samples": [-(2**60)] * 4}, "a number beyond 9e15 in the column test_samples"),
    ("clients", {"accuracy": ["a"] * 4}, "something other than numbers in the column accuracy"),
    ("clients", {"held_out": [[1]] * 4}, "something other than true and false in the column held_out"),
    ("clients", {"held_out": [0.5] * 4}, "something other than true and false in the column held_out"),
    ("clients", {"held_out": [None] * 4}, "something other than true and false in the column held_out"),
    ("clients", {"client": [float("nan")] * 4}, "something other than whole numbers in the column client"),
    ("clients", {"class_counts": [[1, 2], None, [1, 2], [1, 2]]}, "nothing in a row of the column class_counts"),
    ("clients", {"class_counts": [[1, 2], [1], [1, 2], [1, 2]]}, "lists of several lengths in the column class_counts"),
    ("clients", {"class_counts": [[1, None]] * 4}, "nothing in a row of the column class_counts"),
    ("clients", {"class_counts": [1] * 4}, "something other than lists of whole numbers in the column class_counts"),
    (
        "clients",
        {"class_counts": [["a"]] * 4},
        "something other than lists of whole numbers in the column class_counts",
    ),
    ("clients", {"domain": [1] * 4}, "something other than text in the column domain"),
    ("clients", {"method": ["x"] * 4}, "a column method, which belongs to its run"),
    ("clients", {"accuracy": [-INFINITE] * 4}, "infinity in the column accuracy"),
]


def change(path, **columns):
    pd.read_parquet(path).assign(**columns).to_parquet(path)


@pytest.mark.parametrize(("table", "columns", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_a_column_of_another_kind_is_named_and_its_run_left_out(write, runs, table, columns, message):
    write("head")
    path = write("fedvpt") / f"{table}.parquet"
    change(path, **columns)
    with pytest.raises(RecordError, match=message):
        read_parquet(path)
    left_out = []
    found = getattr(frames.Runs(runs, unreadable=left_out.append), table)()
    assert found["method"].unique().tolist() == ["head"]
    assert [message in str(error) for error in left_out] == [True]


@pytest.mark.parametrize(
    ("table", "column"),
    [("rounds", "round"), ("clients", "client"), ("clients", "held_out"), ("clients", "class_counts")],
)
def test_a_table_without_a_column_that_every_table_has_is_refused(write, table, column):
    path = write() / f"{table}.parquet"
    pd.read_parquet(path).drop(columns=column).to_parquet(path)
    with pytest.raises(RecordError, match=f"it has no column {column}"):
        read_parquet(path)


def test_the_metadata_of_a_table_are_not_trusted(write, runs):
    """pandas stores what its columns are; these bytes are not even text."""
    path = write() / "clients.parquet"
    table = parquet.read_table(path)
    parquet.write_table(table.replace_schema_metadata({b"pandas": b"\x98"}), path)
    assert frames.Runs(runs).clients()["client"].tolist() == table["client"].to_pylist()


def test_diagnostics_of_a_method_may_be_infinite(write):
    path = write() / "rounds.parquet"
    change(path, train_norm=[INFINITE] * 3)
    assert read_parquet(path).num_rows == 3


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("metrics", {"seen": {"mean": INFINITE}, "held_out": None}),
        ("seconds", {"total": INFINITE}),
        ("communication", {"upload_bytes": 1, "download_bytes": -INFINITE}),
        ("images_per_second", INFINITE),
    ],
)
def test_a_record_with_an_infinite_number_is_left_out(write, runs, part, value):
    write("head")
    write("fedvpt", **{part: value})
    left_out = []
    assert frames.load(runs, unreadable=left_out.append)["method"].tolist() == ["head"]
    assert f"something other than numbers in {part}" in str(left_out[0])


def test_a_run_whose_folder_may_not_be_read_is_listed_and_the_others_remain(write, runs, monkeypatch):
    write("head")
    hidden, stat, left_out = write("fedvpt"), Path.stat, []

    def denied(path, **options):
        if path.parent == hidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", denied)
    assert frames.load(runs, unreadable=left_out.append)["method"].tolist() == ["head"]
    assert f"{hidden / 'result.json'} cannot be read (permission denied)" in str(left_out[0])
