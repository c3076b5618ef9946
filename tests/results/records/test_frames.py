import json
import subprocess
import sys

import pytest

from fedprompt import results
from fedprompt.results.errors import MissingDataError, RecordError
from fedprompt.results.records.frames import Runs, clients, load, rounds, swept


def test_a_record_becomes_one_row_with_bytes_in_megabytes(write, runs):
    write(method="pep-fedpt", alpha=0.5, seed=3, seen=0.75)
    (row,) = load(runs).to_dict("records")
    assert (row["method"], row["setting"], row["alpha"], row["seed"]) == ("pep-fedpt", "digits dirichlet(0.5)", 0.5, 3)
    assert (row["seen.mean"], row["held_out.mean"], row["prior.seen.mean"]) == (0.75, 0.4, 0.85)
    assert (row["upload_mb"], row["download_mb"], row["seconds"]) == (2.5, 4.0, 4.0)
    assert (row["shared_parameters"], row["images_per_second"]) == (7680, 100)


def test_metrics_that_do_not_apply_are_missing_but_their_columns_stay(write, runs):
    write(held_out=None)
    frame = load(runs)
    assert frame["held_out.mean"].isna().all()
    assert frame["prior.held_out.worst"].isna().all()
    assert frame["held_out_unlabelled.mean"].isna().all()


def test_a_failed_run_keeps_its_row_and_its_error(write, runs):
    write(error="MemoryError: 3 GB")
    row = load(runs).iloc[0]
    assert (row["status"], row["error"]) == ("failed", "MemoryError: 3 GB")
    assert row.isna()[["seen.mean", "upload_mb", "seconds"]].all()


def test_rows_come_in_order_of_alpha_method_and_seed(write, runs):
    for method, alpha, seed in [("b", 0.5, 0), ("a", 10.0, 0), ("b", 0.05, 1), ("b", 0.05, 0), ("a", 0.5, 0)]:
        write(method=method, alpha=alpha, seed=seed)
    found = load(runs)[["alpha", "method", "seed"]].to_numpy().tolist()
    assert found == [[0.05, "b", 0], [0.05, "b", 1], [0.5, "a", 0], [0.5, "b", 0], [10.0, "a", 0]]


def test_hidden_folders_and_folders_without_a_result_are_not_runs(write, runs):
    folder = write()
    for name in ("_cache", ".half"):
        (runs / name).mkdir()
        (runs / name / "result.json").write_text((folder / "result.json").read_text())
    (runs / "figures").mkdir()
    assert list(load(runs)["run_id"]) == [folder.name]


def test_only_the_requested_runs_are_read_and_those_without_a_record_are_left_out(write, runs):
    write()
    second = write(seed=1)
    assert list(load(runs, [second.name, "not-yet"])["run_id"]) == [second.name]
    with pytest.raises(RecordError, match="none of the requested runs"):
        load(runs, ["not-yet"])


def test_rounds_and_clients_carry_the_names_of_their_run(write, runs):
    write(method="a", seed=0)
    write(method="b", seed=1)
    write(method="c", error="stopped")
    each = rounds(runs)
    assert list(zip(each["method"], each["seed"], each["round"], strict=True)) == [
        *(("a", 0, 0), ("a", 0, 1), ("a", 0, 2)),
        *(("b", 1, 0), ("b", 1, 1), ("b", 1, 2)),
    ]
    assert set(each["setting"]) == {"digits dirichlet(0.05)"}
    rows = clients(runs)
    assert len(rows) == 8
    assert set(rows["run_id"]) == {"r000", "r001"}
    assert list(rows["class_counts"].iloc[1]) == [1, 2, 0]


def test_an_absent_or_empty_directory_is_named(runs):
    with pytest.raises(RecordError, match=r"runs is not a directory"):
        load(runs)
    runs.mkdir()
    with pytest.raises(RecordError, match=r"runs contains no runs"):
        load(runs)


def test_rounds_of_failed_runs_only_are_an_error(write, runs):
    write(error="stopped")
    with pytest.raises(RecordError, match="no finished run"):
        rounds(runs)


def test_a_newer_format_is_refused_with_the_remedy(write, runs):
    path = write(format=3) / "result.json"
    with pytest.raises(RecordError) as caught:
        load(runs)
    assert str(caught.value) == (
        f"{path} has record format 3; this version reads up to 1: upgrade the harness or use another directory"
    )


@pytest.mark.parametrize("content", ['{"format": 1, "run_', "[]", "{}", '{"format": 1, "run_id": "x"}', "\xff"])
def test_a_broken_result_file_is_named(write, runs, content):
    path = write() / "result.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RecordError, match=r"r000/result.json"):
        load(runs)


@pytest.mark.parametrize(("read", "name"), [(rounds, "rounds.parquet"), (clients, "clients.parquet")])
def test_a_truncated_or_missing_parquet_is_named(write, runs, read, name):
    path = write() / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RecordError, match=rf"r000/{name} cannot be read"):
        read(runs)
    path.unlink()
    with pytest.raises(RecordError, match=rf"r000/{name} cannot be read"):
        read(runs)


def test_the_package_exports_the_readers(write, runs):
    write()
    assert results.load(runs).equals(load(runs))
    with pytest.raises(AttributeError, match="best_round"):
        results.best_round  # noqa: B018


def test_the_package_exports_its_tables_figures_and_statistics_on_first_use():
    code = "from fedprompt import results; print(*(getattr(results, name).__name__ for name in results.__all__))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == " ".join(results.__all__) + "\n"


def test_a_run_has_the_backbone_and_the_family_of_its_record(write, runs):
    write(method="a", family="global prompts", config={"backbone": "vit"})
    write(method="b", config={"backbone": "vit"})
    assert load(runs)[["family", "backbone"]].to_numpy().tolist() == [["global prompts", "vit"], ["", "vit"]]


def test_held_out_clients_after_adaptation_have_their_columns(write, runs):
    write(metrics={"held_out_adapted": {"mean": 0.7}})
    assert load(runs)["held_out_adapted.mean"].tolist() == [0.7]


def test_reading_and_drawing_import_neither_torch_nor_pyplot():
    code = """
import sys, json, fedprompt.results
early = [name for name in ("pandas", "matplotlib") if name in sys.modules]
import fedprompt.results.tables.leaderboard, fedprompt.results.figures.drawing, fedprompt.results.statistics.ranks
import fedprompt.results.claims.verdicts, fedprompt.results.claims.literature
print(json.dumps([early, [name for name in ("torch", "timm", "ray", "matplotlib.pyplot") if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], []]


def test_only_the_requested_columns_are_read_and_one_that_a_run_lacks_is_missing(write, runs):
    write(method="a")
    whole = clients(runs)
    older = write(method="b") / "clients.parquet"
    whole[["client", "held_out", "class_counts"]].to_parquet(older)
    read = Runs(runs).clients(["client", "accuracy"])
    names = ["run_id", "method", "family", "dataset", "partition", "alpha", "setting", "seed"]
    assert list(read) == [*names, "client", "accuracy"]
    assert read["client"].tolist() == [0, 1, 2, 3] * 2
    assert read["accuracy"].isna().tolist() == [False, False, True, False, *[True] * 4]
    assert read["method"].tolist() == ["a"] * 4 + ["b"] * 4


def test_diagnostics_of_one_method_are_missing_in_the_rounds_of_others(write, runs):
    path = write(method="a") / "rounds.parquet"
    write(method="b")
    rounds(runs, [path.parent.name])[["round", "seen_mean"]].assign(test_own=[1, 2, 3]).to_parquet(path)
    read = rounds(runs)
    assert read["test_own"].tolist()[:3] == [1, 2, 3]
    assert read["test_own"].isna().tolist() == [False] * 3 + [True] * 3


def test_first_seed_clients_are_those_of_the_lowest_finished_seed_of_each_setting(write, runs):
    for alpha, seed in ((0.5, 1), (0.05, 2), (0.05, 1), (0.5, 3)):
        write(alpha=alpha, seed=seed)
    write(alpha=0.5, seed=0, error="stopped")
    rows = Runs(runs).first_seed_clients()
    assert list(rows.groupby(["alpha", "seed"]).groups) == [(0.05, 1), (0.5, 1)]
    assert rows["class_counts"].map(list).tolist() == [[4, 0, 0], [1, 2, 0], [0, 0, 5], [1, 0, 1]] * 2


def test_an_option_with_a_single_value_was_not_swept(write, runs):
    write("pep-fedpt", config={"settings": {"pep-fedpt": {"tau": 0.1}}})
    write("fedvpt")
    with pytest.raises(MissingDataError, match="no two runs differ in tau"):
        swept(runs, "tau")
    write("pep-fedpt", config={"settings": {"pep-fedpt": {"tau": 0.2}}})
    assert sorted(swept(runs, "tau")["value"].dropna()) == ["0.1", "0.2"]
