"""`bench submit`, and `bench reproduce` of an exported folder."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from fedprompt.benchmark.runs.store import Store
from fedprompt.results import load
from tests.benchmark.conftest import config, refused
from tests.results.records.test_croissant import faults

FILES = {"README.md", "table.md", "table.csv", "columns.md", "croissant.json", "records.jsonl.xz"}
FILES |= {f"{name}.parquet" for name in ("runs", "rounds", "clients")}


@pytest.fixture
def runs(directory, tmp_path):
    """A writable copy of the directory of runs: three done, one failed."""
    return Path(shutil.copytree(directory, tmp_path / "runs"))


def test_a_submission_has_the_layout_of_published_folders(bench, runs, tmp_path):
    answer = bench.ok("submit", runs, "--name", "mine", "--sample", "1")
    folder = tmp_path / "results" / "published" / "mine"
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]
    assert answer.out.splitlines()[0].endswith(": identical numbers, bit for bit")
    text = (folder / "README.md").read_text()
    assert text.startswith("# mine\n\n4 runs of 2 methods")
    assert "- [ ] No run failed (1 of 4 did)." in text
    assert "- [x] A random sample of runs was repeated with equal numbers (1 of 1)." in text
    assert "ZeroDivisionError: division by zero" in text
    assert str(tmp_path) not in text
    assert faults(json.loads((folder / "croissant.json").read_text()), folder) == []
    assert json.loads((folder / "croissant.json").read_text())["name"] == "mine"
    assert len(load(folder)) == 4
    for command in ("table", "report", "verify"):
        bench.ok(command, folder, *(["--out", "report.html"] if command == "report" else []))


def test_the_sample_depends_on_its_seed_only(bench, runs):
    chosen = []
    for number, seed in enumerate((0, 0, 1, 2, 3)):
        answer = bench.ok("submit", runs, "--out", f"out{number}", "--sample", "1", "--sample-seed", seed, "--json")
        chosen.append(json.loads(answer.out)["sample"][0]["run_id"])
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) > 1


def test_a_run_with_other_numbers_is_reported_and_leaves_its_box_open(bench, runs):
    for entry in Store(runs).entries():
        if entry.status == "done":
            path = runs / entry.run_id / "result.json"
            record = json.loads(path.read_text())
            record["metrics"]["seen"]["mean"] += 0.5
            path.write_text(json.dumps(record))
    answer = bench("submit", runs, "--out", "out", "--sample", "1")
    assert answer.code == 1
    assert "1 numbers differ, mean accuracies by at most 50.00 points, more than the 3 " in answer.out
    assert (
        "- [ ] A random sample of runs was repeated with equal numbers (0 of 1)." in Path("out/README.md").read_text()
    )


def test_what_cannot_be_submitted_is_refused_in_one_line_and_leaves_nothing(bench, runs, tmp_path):
    def nothing_new(*words):
        before = sorted(path.name for path in tmp_path.iterdir())
        refused(bench("submit", *words[0]), *words[1:])
        assert sorted(path.name for path in tmp_path.iterdir()) == before

    (tmp_path / "empty").mkdir()
    nothing_new(["empty", "--out", "x"], "empty contains no runs")
    nothing_new(["absent", "--out", "x"], "absent is not a directory")
    nothing_new([runs, "--name", "../x"], "--name ../x: use letters")
    nothing_new([runs, "--out", "runs"], "runs exists and is not empty")
    bench.ok("export", runs, "exported")
    nothing_new(["exported", "--out", "x"], "exported is an exported folder: name the directory of runs")
    (failed,) = (entry.run_id for entry in Store(runs).entries() if entry.status == "failed")
    (tmp_path / "only").mkdir()
    shutil.copytree(runs / failed, tmp_path / "only" / failed)
    nothing_new(["only", "--out", "x"], "only contains no finished run")
    (runs / failed / "result.json").write_text("{")
    nothing_new([runs, "--out", "x"], "is not valid JSON")


def test_a_run_of_an_exported_folder_is_repeated_from_its_tables(bench, runs, tmp_path):
    bench.ok("export", runs, "exported")
    run_id = config().run_id
    answer = bench.ok("reproduce", f"exported/{run_id}")
    assert answer.out.startswith(f"exported/{run_id}: identical numbers, bit for bit\n")
    table = pd.read_parquet(tmp_path / "exported" / "runs.parquet")
    table.loc[table["run_id"] == run_id, ["seen.mean", "seconds", "environment.torch"]] = [0.25, 1e6, "0.1"]
    table.to_parquet(tmp_path / "exported" / "runs.parquet", index=False)
    answer = bench("reproduce", f"exported/{run_id}")
    assert answer.code == 1
    lines = answer.out.splitlines()
    assert "1 numbers differ" in lines[0]
    assert lines[1].startswith("  seen.mean: 0.25 -> ")
    assert any(line.startswith("  environment: torch: 0.1 -> ") for line in lines)
    refused(bench("reproduce", "exported/0123456789abcdef"), "exported has no run 0123456789abcdef")
    (failed,) = (entry.run_id for entry in Store(runs).entries() if entry.status == "failed")
    refused(bench("reproduce", f"exported/{failed}"), "failed")
