"""The options --methods, --datasets, --alpha and --metric of the commands that show or export records."""

import json
import re

import pandas as pd
import pytest

from tests.benchmark.conftest import refused
from tests.results.conftest import writer

SHOWING = {
    "table": [],
    "figure": ["accuracy_by_alpha"],
    "report": [],
    "compare": ["fedvpt", "head"],
    "verify": [],
    "export": ["out.csv"],
}


@pytest.fixture
def grid(tmp_path):
    """Three methods, two alphas, two seeds."""
    write = writer(tmp_path)
    for place, method in enumerate(("fedvpt", "head", "local")):
        for alpha in (0.05, 0.5):
            for seed in (0, 1):
                write(method, alpha, seed, seen=0.5 + 0.1 * place + 0.01 * seed)
    return tmp_path / "runs"


@pytest.mark.parametrize("command", SHOWING)
def test_every_showing_command_refuses_a_name_that_no_run_has(command, bench, grid):
    answer = bench(command, grid, *SHOWING[command], "--methods", "haed")
    refused(answer, "unknown method 'haed': did you mean 'head'?")
    refused(bench(command, grid, *SHOWING[command], "--datasets", "digit"), "did you mean 'digits'?")
    refused(bench(command, grid, *SHOWING[command], "--alpha", "5"), "unknown alpha '5'", "0.05, 0.5")
    refused(bench(command, grid, *SHOWING[command], "--metric", "seen.maen"), "did you mean 'seen.mean'?")


def test_a_table_has_the_chosen_methods_settings_and_metrics(bench, grid):
    rows = json.loads(
        bench.ok("table", grid, "--methods", "head,l*", "--alpha", "0.5", "--metric", "seen.*", "--json").out
    )
    assert {row["method"] for row in rows} == {"head", "local"}
    assert {row["setting"] for row in rows} - {"per run"} == {"digits dirichlet(0.5)"}
    assert {"seen.mean", "seen.worst"} <= {row["metric"] for row in rows}
    assert "held_out.mean" not in {row["metric"] for row in rows}


def test_a_figure_has_the_chosen_runs_and_one_file_per_metric(bench, grid):
    words = ("--methods", "head,local", "--alpha", "0.05", "--metric", "seen.mean,held_out.mean")
    drawn = bench.ok("figure", grid, "accuracy_by_alpha", *words).out.split()
    figures = grid / "figures"
    assert [name for name in drawn if name.endswith("png")] == [
        str(figures / f"accuracy_by_alpha{end}.png") for end in ("", "_held_out.mean")
    ]
    for end, mean in (("", 0.605), ("_held_out.mean", 0.4)):
        numbers = pd.read_csv(figures / f"accuracy_by_alpha{end}.csv").set_index("method")
        assert set(numbers.index) == {"head", "local"}
        assert set(numbers["alpha"]) == {0.05}
        assert numbers.loc["head", "mean"] == pytest.approx(mean)


def test_a_figure_of_one_accuracy_only_takes_no_other_metric(bench, grid):
    refused(bench("figure", grid, "per_client", "--metric", "held_out.mean"), "held_out.mean")
    refused(bench("figure", grid, "pairwise", "--metric", "upload_mb"), "upload_mb")


def test_a_comparison_uses_the_chosen_settings_for_each_metric(bench, grid):
    words = ("compare", grid, "head", "fedvpt", "--alpha", "0.05", "--json")
    found = json.loads(bench.ok(*words).out)
    assert {row["setting"] for row in found["differences"]} == {"digits dirichlet(0.05)", "all settings"}
    several = json.loads(bench.ok(*words, "--metric", "seen.mean,seconds").out)
    assert [each["metric"] for each in several] == ["seen.mean", "seconds"]
    assert several[0] == found
    assert bench.ok(*words[:-1], "--metric", "seen.mean,seconds").out.count("head minus fedvpt") == 2


def test_the_claims_checked_are_those_about_a_chosen_metric(bench, grid, tmp_path):
    claim = "- {{id: {0}, source: s, wording: w, settings: {{}}, check: {{kind: beats, method: head, "
    claim += "baselines: [fedvpt], metrics: [{1}]}}}}\n"
    (tmp_path / "claims.yaml").write_text(claim.format("a", "seen.mean") + claim.format("b", "seen.worst"))
    words = ("verify", grid, "--claims", "claims.yaml", "--json")
    found = json.loads(bench.ok(*words, "--metric", "*.worst").out)
    assert len(found) == 1
    assert '"b"' in json.dumps(found)
    assert len(json.loads(bench.ok(*words).out)) == 2


def test_an_export_has_the_chosen_runs_and_metrics_and_all_names(bench, grid):
    bench.ok("export", grid, "out.csv", "--methods", "head", "--alpha", "0.5", "--metric", "seen.mean")
    rows = pd.read_csv("out.csv")
    assert set(rows["method"]) == {"head"}
    assert len(rows) == 2
    assert {"run_id", "setting", "seed", "alpha", "seen.mean", "config.lr"} <= set(rows)
    assert not {"held_out.mean", "upload_mb", "seconds", "personalised.mean"} & set(rows)
    bench.ok("export", grid, "folder", "--methods", "head")
    assert set(pd.read_parquet("folder/rounds.parquet")["method"]) == {"head"}
    assert json.loads(bench.ok("table", "folder", "--methods", "head", "--json").out)


def test_a_report_has_the_chosen_methods_and_metrics(bench, grid):
    page = grid / "report.html"
    bench.ok("report", grid, "--methods", "head,local", "--metric", "held_out.mean")
    text = page.read_text()
    assert re.findall(
        "<option value=.*?>(.*?)</option>", text.partition('id="metric"')[2].partition("</select>")[0]
    ) == ["held-out clients, mean"]
    assert "fedvpt" not in text
    assert "head" in text
