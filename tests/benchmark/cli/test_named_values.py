"""Methods with values in their names, from the command line to tables and repeated runs."""

import json

import pandas as pd

from tests.benchmark.conftest import SMALL, refused

RUN = ("run", *SMALL, "--alpha", "0.5", "--seed", "0", "--min-test", "1", "--out", "runs")


def test_values_of_a_name_reach_records_tables_and_repeated_runs(bench, tmp_path, small_data):
    names = ("fedvpt", "fedvpt:tokens=3", "pep-fedpt:prior:class_tokens=2:tau=0.3+la")
    given = ("fedvpt", "fedvpt:tokens= 3", "pep-fedpt:tau=0.30:prior:class_tokens=2+la")
    for name in given:
        bench.ok(*RUN, "--dataset", small_data, "--method", name)
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/result.json")]
    assert {record["method"] for record in records} == set(names)
    tokens = {r["method"]: r["config"]["settings"]["fedvpt"]["tokens"] for r in records if "pep" not in r["method"]}
    assert tokens == {"fedvpt": 10, "fedvpt:tokens=3": 3}
    table = bench.ok("table", "runs", "--format", "csv").out
    assert all(name in table for name in names)
    latex = bench.ok("table", "runs", "--format", "latex").out
    assert r"class\_tokens=2" in latex
    for record in records:
        assert bench("reproduce", record["run_id"], "--out", "runs").out.endswith("identical numbers, bit for bit\n")
    bench.ok("export", "runs", "out.parquet")
    assert set(pd.read_parquet(tmp_path / "out.parquet")["method"]) == set(names)


def test_a_grid_of_one_field_is_one_sweep(bench):
    plan = bench.ok("plan", "--methods", "fedvpt:tokens=1,fedvpt:tokens=2,fedvpt:tokens=2", "--seeds", "0", *SMALL)
    assert plan.out.startswith("2 runs: ")


def test_a_default_and_a_misspelt_field_are_refused(bench):
    refused(bench(*RUN, "--method", "fedvpt:tokens=10"), "fedvpt:tokens=10 is the default of tokens; leave it out.")
    refused(bench(*RUN, "--method", "fedvpt:token=3"), "did you mean 'tokens'?")
    refused(
        bench(*RUN, "--method", "fedvpt:tokens=3", "--set", "fedvpt.tokens=4"), "fixed by the variant fedvpt:tokens=3"
    )


def test_options_of_one_method_name_it_as_its_runs_do(bench, tmp_path):
    (tmp_path / "p.yaml").write_text("per-method:\n  fedvpt:tokens=03: {lr: 0.1}\n")
    refused(bench(*RUN, "--method", "fedvpt", "--preset", "p.yaml"), "fedvpt:tokens=3")
