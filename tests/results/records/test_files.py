import pandas as pd
import pytest

from fedprompt import results
from fedprompt.results.errors import RecordError
from fedprompt.results.records.export import export


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_what_was_exported_is_loaded_like_the_directory_with_the_settings_beside(write, runs, tmp_path, suffix):
    write(family="global prompts")
    write(seed=1, held_out=None)
    write(alpha=None, error="it broke")
    file = tmp_path / f"runs.{suffix}"
    export(runs, file)
    loaded, original = results.load(file), results.load(runs)
    pd.testing.assert_frame_equal(loaded[list(original)], original, check_dtype=False)
    assert loaded["config.lr"].tolist() == [0.01] * 3
    assert results.leaderboard(loaded).equals(results.leaderboard(original))


def test_of_an_exported_file_the_named_runs_alone_are_loaded(write, runs, tmp_path):
    write()
    write(seed=1)
    export(runs, tmp_path / "runs.parquet")
    assert results.load(tmp_path / "runs.parquet", ["r001"])["seed"].tolist() == [1]


def test_a_file_without_runs_says_what_it_lacks_and_one_that_is_torn_or_absent_that_it_is(write, runs, tmp_path):
    write()
    export(runs, tmp_path / "rounds.csv", "rounds")
    with pytest.raises(RecordError, match=r"rounds.csv holds no runs, it lacks status: name a file of `bench export"):
        results.load(tmp_path / "rounds.csv")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    for name, wrong in (("torn.parquet", "cannot be read"), ("absent.parquet", "is not there")):
        with pytest.raises(RecordError, match=f"{name} {wrong}"):
            results.load(tmp_path / name)
