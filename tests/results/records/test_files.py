import pandas as pd
import pytest

from fedprompt import results
from fedprompt.results.errors import RecordError
from fedprompt.results.records.export import export, export_folder


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_an_exported_file_loads_like_its_directory_and_also_has_the_options(write, runs, tmp_path, suffix):
    write(family="global prompts")
    write(seed=1, held_out=None)
    write(alpha=None, error="it broke")
    file = tmp_path / f"runs.{suffix}"
    export(runs, file)
    loaded, original = results.load(file), results.load(runs)
    pd.testing.assert_frame_equal(loaded[list(original)], original, check_dtype=False)
    assert loaded["config.lr"].tolist() == [0.01] * 3
    assert results.leaderboard(loaded).equals(results.leaderboard(original))


def test_only_the_requested_runs_of_an_exported_file_are_loaded(write, runs, tmp_path):
    write()
    write(seed=1)
    export(runs, tmp_path / "runs.parquet")
    assert results.load(tmp_path / "runs.parquet", ["r001"])["seed"].tolist() == [1]


def test_an_exported_file_without_runs_truncated_or_missing_is_refused_with_the_reason(write, runs, tmp_path):
    write()
    export(runs, tmp_path / "rounds.csv", "rounds")
    with pytest.raises(
        RecordError, match=r"rounds.csv contains no runs, it lacks status: name a file of `bench export"
    ):
        results.load(tmp_path / "rounds.csv")
    pd.read_csv(tmp_path / "rounds.csv").assign(status="done").head(0).to_parquet(tmp_path / "empty.parquet")
    (tmp_path / "truncated.parquet").write_bytes(b"PAR1")
    for name, wrong in (
        ("empty.parquet", "contains no runs, it has no rows"),
        ("truncated.parquet", "cannot be read"),
        ("absent.parquet", "does not exist"),
    ):
        with pytest.raises(RecordError, match=f"{name} {wrong}"):
            results.load(tmp_path / name)


@pytest.mark.parametrize("column", ["upload_mb", "seconds"])
def test_an_exported_table_without_a_cost_is_refused(write, runs, tmp_path, column):
    write()
    export(runs, file := tmp_path / "runs.parquet")
    pd.read_parquet(file).drop(columns=column).to_parquet(file)
    with pytest.raises(
        RecordError, match=f"runs.parquet was changed: it has no column {column}; export the runs again"
    ):
        results.load(file)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("method", [1.5], "something other than text in the column method"),
        ("seen.mean", ["x"], "something other than numbers in the column seen.mean"),
        ("seed", [float("inf")], "lacks a number in the column seed"),
    ],
)
def test_an_exported_table_with_values_of_another_kind_is_refused(write, runs, tmp_path, column, values, message):
    write()
    export(runs, file := tmp_path / "runs.parquet")
    pd.read_parquet(file).assign(**{column: values}).to_parquet(file)
    with pytest.raises(RecordError, match=message):
        results.load(file)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1] * 4, "something other than lists of whole numbers in the column class_counts"),
        ([[1, 2], None, [1, 2], [1, 2]], "something other than lists of whole numbers in the column class_counts"),
        ([[1.5, 2]] * 4, "something other than lists of whole numbers in the column class_counts"),
        ([[1, 2], [1], [1, 2], [1, 2]], "lists of several lengths in the column class_counts"),
    ],
)
def test_exported_clients_with_other_class_counts_are_refused(write, runs, tmp_path, counts, message):
    write()
    export_folder(runs, tmp_path / "exported")
    file = tmp_path / "exported" / "clients.parquet"
    pd.read_parquet(file).assign(class_counts=counts).to_parquet(file)
    with pytest.raises(RecordError, match=message):
        results.clients(tmp_path / "exported")
