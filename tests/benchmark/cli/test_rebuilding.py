"""`bench merge` of an exported folder: a directory of runs that equals the exported one."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from fedprompt.benchmark.runs.store import Store
from fedprompt.results.records.files import own_settings
from tests.benchmark.conftest import SMALL, config, configs, refused
from tests.results.records.packed import FILE, lines, put

TABLES = ("runs", "rounds", "clients")
GRID = ("--seeds", "0,1", *SMALL)


@pytest.fixture
def runs(directory, tmp_path):
    """A writable copy of the directory of runs: three done, one failed; one run was tuned."""
    place = Path(shutil.copytree(directory, tmp_path / "runs"))
    Store(place).add_method_overrides({config().run_id: {"options": ["lr"], "trials": 4}})
    return place


@pytest.fixture
def again(bench, runs, tmp_path):
    """The same, exported and rebuilt."""
    bench.ok("export", runs, "exported")
    assert bench.ok("merge", "exported", "--out", "again").err == "4 runs copied into again, 0 already present\n"
    return tmp_path / "again"


def test_tables_exports_and_tuned_options_equal_those_of_the_exported_directory(bench, runs, again, tmp_path):
    for metric in ("seen.mean,upload_mb,seconds", "*"):
        assert bench.ok("table", again, "--metric", metric).out == bench.ok("table", runs, "--metric", metric).out
    assert own_settings(again) == own_settings(runs)
    bench.ok("export", again, "twice")
    for what in TABLES:
        first, second = (pd.read_parquet(tmp_path / folder / f"{what}.parquet") for folder in ("exported", "twice"))
        pd.testing.assert_frame_equal(first, second)
    assert lines(tmp_path / "exported") == lines(tmp_path / "twice")


def test_records_and_configurations_are_those_of_the_exported_directory_without_hosts(runs, again):
    for entry in Store(runs).entries():
        folder = again / entry.run_id
        expected = entry.result
        if "when" in expected:
            expected = expected | {"when": {k: v for k, v in expected["when"].items() if k != "worker"}}
        assert json.loads((folder / "result.json").read_text()) == expected
        assert (folder / "config.json").read_bytes() == (runs / entry.run_id / "config.json").read_bytes()
        assert "exported folder" in (folder / "log.txt").read_text()


def test_a_sweep_into_it_runs_what_failed_and_then_nothing(bench, again, executed, no_figures):
    assert "2 runs: 2 done, 0 to run\n" in bench.ok("plan", "--methods", "head", *GRID, "--out", again).out
    (failed,) = (entry.run_id for entry in Store(again).entries() if entry.status != "done")
    for _ in range(2):
        bench.ok("sweep", "--methods", "head,fedvpt", *GRID, "--workers", 1, "--out", again)
    assert executed == [failed]
    assert "4 runs: 4 done, 0 to run\n" in bench.ok("plan", "--methods", "head,fedvpt", *GRID, "--out", again).out


def test_reports_figures_and_reproductions_work(bench, again):
    bench.ok("report", again, "--out", "report.html")
    bench.ok("figure", again, "accuracy_over_rounds", "--out", "figures")
    assert "identical numbers, bit for bit" in bench.ok("reproduce", again / config().run_id).out


def test_an_exported_folder_is_compared_with_directories_like_a_directory(bench, runs, again):
    assert bench.ok("merge", "exported", runs, "--out", "both").err == "4 runs copied into both, 4 already present\n"
    path = runs / config().run_id / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metrics": {"seen": {"mean": 1.0}}}))
    refused(bench("merge", "exported", runs, "--out", "all"), config().run_id, "exported", str(runs))
    assert not Path("all").exists()


def test_a_kept_model_is_not_claimed_and_a_sweep_that_wants_it_says_so(bench, runs, tmp_path):
    path = runs / config().run_id / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model": {"kept": "server", "digest": "0", "bytes": 1}}))
    bench.ok("export", runs, "exported")
    bench.ok("merge", "exported", "--out", "again")
    entry = Store(tmp_path / "again").entry(config().run_id)
    assert "model" not in entry.result
    assert entry.lacks_model("server", tmp_path / "again")
    refused(bench("run", "--from", config().run_id, "--out", "again"), "kept no model")


def test_what_has_no_records_is_refused_with_the_remedy(bench, runs, tmp_path):
    bench.ok("export", runs, "exported")
    bench.ok("export", runs, "runs.csv")
    refused(bench("merge", "runs.csv", "--out", "all"), "runs.csv is a single table", "bench export DIR FOLDER")
    refused(bench("merge", runs, "--out", "exported"), "--out exported is an exported folder")
    (tmp_path / "exported" / FILE).unlink()
    refused(bench("merge", "exported", "--out", "all"), f"exported has no {FILE}", "export the runs again")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_id": "../../outside"}, "has an incomplete configuration"),
        ({"status": "great"}, "has no valid status"),
    ],
)
def test_a_forged_record_is_refused_and_nothing_is_written(change, message, bench, runs, tmp_path):
    bench.ok("export", runs, "exported")
    content = lines(tmp_path / "exported")
    position = next(i for i, line in enumerate(content) if line["result"]["run_id"] == config().run_id)
    content[position]["result"] |= change
    if "run_id" in change:
        del content[position]["result"]["config"]["data_identity"]
        for what in TABLES:
            path = tmp_path / "exported" / f"{what}.parquet"
            frame = pd.read_parquet(path)
            frame["run_id"] = frame["run_id"].replace(config().run_id, change["run_id"])
            frame.to_parquet(path)
    put(tmp_path / "exported", content)
    before = set(tmp_path.rglob("*"))
    refused(bench("merge", "exported", "--out", "deep/all"), message, "export the runs again")
    assert set(tmp_path.rglob("*")) == before


def test_a_disk_that_fills_leaves_no_partial_run(bench, runs, tmp_path, monkeypatch):
    from pyarrow import parquet

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    bench.ok("export", runs, "exported")
    monkeypatch.setattr(parquet, "write_table", full)
    refused(bench("merge", "exported", "--out", "all"), "cannot be written: no space left on device")
    run_ids = {run.run_id for run in configs(methods=("head", "fedvpt"), seeds=(0, 1))}
    assert {path.name for path in (tmp_path / "all").iterdir()} <= run_ids
