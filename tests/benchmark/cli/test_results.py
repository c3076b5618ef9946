import csv
import io
import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest

from fedprompt.benchmark.cli import results
from fedprompt.benchmark.runs import driver_status as live
from fedprompt.benchmark.runs.driver_status import DriverStatus, active_drivers
from tests.benchmark.conftest import config, refused
from tests.benchmark.runs.test_locks import abandon


def test_status_counts_runs_and_shows_failures(bench, directory):
    answer = bench.ok("status", directory)
    assert answer.err == ""
    lines = answer.out.splitlines()
    assert lines[0] == f"{directory}: 3 done, 1 failed"
    assert lines[1] == "  failed: fedvpt on digits dirichlet(0.5) seed 1: ZeroDivisionError: division by zero"
    log = lines[2].strip()
    assert (directory / log).read_text() == "Traceback ..."
    assert len(lines) == 3


def test_status_prints_json(bench, directory):
    found = json.loads(bench("status", directory, "--json").out)
    run = config(methods=("fedvpt",), seeds=(1,))
    assert (found["done"], found["failed"]) == (3, 1)
    assert found["failures"] == [
        {
            "run_id": run.run_id,
            "method": "fedvpt",
            "dataset": "digits",
            "partition": "dirichlet",
            "alpha": 0.5,
            "seed": 1,
            "error": "ZeroDivisionError: division by zero",
            "error_kind": "exception",
            "log": f"{run.run_id}/log.txt",
        }
    ]


@pytest.mark.parametrize("kind", ["text", "csv", "md", "latex", "json"])
def test_table_of_every_format_names_every_method(kind, bench, directory):
    answer = bench.ok("table", directory, "--format", kind)
    assert answer.err == ""
    assert "head" in answer.out
    assert "fedvpt" in answer.out


def test_table_marks_failed_runs(bench, directory):
    assert "failed" in bench("table", directory).out


def test_table_in_json_contains_means_over_seeds(bench, directory):
    answer = bench("table", directory, "--json")
    assert bench("table", directory, "--format", "json").out == answer.out
    means = [
        json.loads((directory / config(seeds=(seed,)).run_id / "result.json").read_text())["metrics"]["seen"]["mean"]
        for seed in (0, 1)
    ]
    (row,) = (r for r in json.loads(answer.out) if (r["method"], r["metric"]) == ("head", "seen.mean"))
    assert row["mean"] == pytest.approx(sum(means) / 2)
    assert (row["seeds"], row["failed"]) == (2, 0)


def test_methods_of_one_sweep_share_their_setting(bench, directory):
    rows = list(csv.DictReader(io.StringIO(bench("table", directory, "--format", "csv").out)))
    assert {row["method"] for row in rows} == {"head", "fedvpt"}
    assert {row["setting"] for row in rows} - {"per run"} == {"digits dirichlet(0.5)"}


def test_table_shows_the_chosen_metrics(bench, directory):
    answer = bench("table", directory, "--metric", "seen.std", "--format", "csv")
    assert "seen.std" in answer.out
    assert "held_out.mean" not in answer.out
    group = bench.ok("table", directory, "--metric", "held_out", "--format", "csv").out
    assert group == bench("table", directory, "--metric", "held_out.mean", "--format", "csv").out
    both = bench("table", directory, "--metric", "seen.std,held_out.mean", "--format", "csv")
    assert (
        both.out
        == bench("table", directory, "--metric", "seen.std", "--metric", "held_out.mean", "--format", "csv").out
    )
    assert "held_out.mean" in both.out


def test_table_shows_prior_corrected_rows_families_and_differences(bench, directory):
    both = bench("table", directory, "--prior", "--metric", "seen.mean", "--group", "family")
    assert both.err == ""
    assert {"head:", "head+prior", "global prompts:"} <= {line.split("  ")[0].strip() for line in both.out.splitlines()}
    rows = json.loads(bench("table", directory, "--reference", "head", "--metric", "seen.mean", "--json").out)
    assert {(row["method"], row["n"]) for row in rows} == {("fedvpt", 1)}


def test_figures_are_drawn_in_the_given_folder(bench, directory, tmp_path):
    answer = bench.ok(
        "figure", directory, "accuracy_over_rounds", "per_client", "--format", "png,svg", "--out", "drawn"
    )
    assert answer.err == ""
    names = {f"{n}.{kind}" for n in ("accuracy_over_rounds", "per_client") for kind in ("png", "svg", "csv")}
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == names
    assert {Path(line).name for line in answer.out.splitlines()} == names
    assert (tmp_path / "drawn" / "per_client.png").read_bytes().startswith(b"\x89PNG")


def test_the_figure_of_differences_to_a_reference_has_rows_with_the_prior(bench, directory):
    answer = bench.ok("figure", directory, "differences", "--reference", "head", "--prior", "--out", "drawn")
    assert {Path(line).name for line in answer.out.splitlines()} == {"differences.png", "differences.csv"}
    rows = pd.read_csv("drawn/differences.csv")
    found = set(rows[["method", "reference"]].itertuples(index=False, name=None))
    one, both = {("fedvpt", "head"), ("fedvpt+prior", "head"), ("head+prior", "head")}, {("fedvpt+prior", "head+prior")}
    assert found == one | both
    alone = bench("figure", directory, "accuracy_by_alpha", "--reference", "head", "--out", "drawn")
    assert alone.code == 2
    assert "--reference head is for the figure differences" in alone.err


def test_report_is_written_to_the_given_file(bench, directory, tmp_path):
    answer = bench("report", directory, "--out", "out/report.html")
    assert (answer.code, answer.err) == (0, "")
    assert Path(answer.out.strip()) == Path("out/report.html")
    assert "<!doctype html>" in (tmp_path / "out" / "report.html").read_text()[:40]


def test_a_figure_has_the_width_of_the_style_and_its_columns(bench, directory):
    for columns, width in (("1", 3.25), ("2", 6.75)):
        options = ("--format", "svg", "--style", "icml", "--columns", columns, "--out", "drawn")
        bench.ok("figure", directory, "accuracy_by_alpha", *options)
        assert f'width="{72 * width:g}pt"' in Path("drawn/accuracy_by_alpha.svg").read_text()


def test_drawn_figures_are_listed_in_json(bench, directory):
    answer = bench.ok("figure", directory, "per_client", "--out", "drawn", "--json")
    assert json.loads(answer.out)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["table", "DIR", "--metric", "seen.best"], "seen.best"),
        (["table", "DIR", "--format", "html"], "html"),
        (["figure", "DIR", "nonsense"], "nonsense"),
        (["figure", "DIR", "--format", "gif"], "gif"),
        (["status", "absent"], "absent"),
        (["table", "absent"], "absent"),
        (["figure", "absent"], "absent"),
        (["table", "."], "contains no runs"),
        (["figure", "."], "contains no runs"),
        (["figure", "DIR", "soft_weights"], "mix_weights"),
        (["figure", "DIR", "--columns", "3"], "use 1 or 2"),
        (["figure", "DIR", "--style", "nips"], "unknown style 'nips': "),
        (["report", "absent"], "absent"),
    ],
)
def test_invalid_arguments_are_refused_by_name(words, named, bench, directory, tmp_path):
    refused(bench(*(str(directory) if word == "DIR" else word for word in words)), named)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["status", "table", "figure"])
@pytest.mark.parametrize(
    ("text", "named"), [('{"format": 2}', "record format 2"), ("{", "result.json"), ('{"format": 1}', "result.json")]
)
def test_invalid_record_is_named(command, text, named, bench, directory, tmp_path):
    run_id = config().run_id
    shutil.copytree(directory / run_id, tmp_path / "runs" / run_id)
    (tmp_path / "runs" / run_id / "result.json").write_text(text)
    answer = bench(command, "runs")
    assert answer.code == (1 if command == "status" else 2)  # a table of no run is refused
    assert answer.err.startswith("left out: ")
    assert named in answer.err
    assert run_id in answer.err


def test_status_shows_running_and_abandoned_runs_and_other_commits(bench, directory, tmp_path):
    shutil.copytree(directory, tmp_path / "runs")
    place = tmp_path / "runs" / config().run_id / "result.json"
    result = json.loads(place.read_text())
    result["environment"]["git_commit"] = "abc123"
    place.write_text(json.dumps(result))
    running = {"run_id": "one", "name": "head iid seed 1", "round": 3, "rounds": 8, "worker": "node-7:99"}
    progress = {"runs": 4, "finished": 3, "failed": 0, "images_per_second": 0.0, "seconds_left": 5.0}
    with DriverStatus(tmp_path / "runs", lambda: progress | {"running": [running]}) as locks:
        locks.acquire("one", run="head iid seed 1")
        abandon(locks.folder, "two", host="here", pid=99, run="head iid seed 2")
        abandon(locks.folder, config().run_id, host="here", pid=99)  # its record is written
        while not active_drivers(tmp_path / "runs"):
            time.sleep(0.05)
        answer = bench("status", "runs").out
        found = json.loads(bench("status", "runs", "--json").out)
    assert answer.splitlines()[0] == "runs: 3 done, 1 failed, 1 running, 1 abandoned"
    assert "  running: head iid seed 1 on node-7:99, round 3/8\n" in answer
    assert "  abandoned: head iid seed 2 by here:99, which has ended" in answer
    assert "  1 runs were made by another commit, abc123" in answer
    assert [run["run_id"] for run in found["running"]] == ["one"]
    assert [run["run_id"] for run in found["abandoned"]] == ["two"]
    assert found["other_commits"] == {"abc123": [config().run_id]}


def test_status_follows_a_sweep_until_it_ends(bench, directory, monkeypatch):
    now = {
        "runs": 4,
        "finished": 3,
        "failed": 0,
        "images_per_second": 0.0,
        "seconds_left_range": [4.0, 6.0],
        "running": [],
    }
    told = [
        {"here:99": now},
        {"here:99": now | {"finished": 4, "seconds_left_range": [0.0, 0.0]}},
        {},
    ]
    monkeypatch.setattr(live, "active_drivers", lambda _: told.pop(0) if told else {})
    monkeypatch.setattr(results, "FOLLOW_EVERY", 0.0)
    answer = bench("status", directory, "--follow")
    assert answer.err == "here:99: 3/4 runs, 4 to 6 s left\nhere:99: 4/4 runs, about 0 s left\n"
    assert answer.out.startswith(f"{directory}: 3 done")


@pytest.mark.parametrize("file", ["rounds.parquet", "clients.parquet"])
def test_truncated_table_is_named_with_the_remedy(file, bench, directory, tmp_path):
    shutil.copytree(directory, tmp_path / "runs")
    path = tmp_path / "runs" / config().run_id / file
    path.write_bytes(path.read_bytes()[:100])
    answer = bench("figure", "runs")
    assert answer.code == 1
    assert f"left out: runs/{config().run_id}/{file} cannot be read" in answer.err
    assert "delete the run's directory" in answer.err
