"""`--keep-model` and `--from`."""

import json
from pathlib import Path

import pytest

from fedprompt.results import model
from fedprompt.results.report.command import command
from tests.benchmark.conftest import refused

SMALL = ("--alpha", "0.3", "--clients", "6", "--rounds", "2", "--precision", "fp32", "--quiet")


@pytest.fixture
def kept(bench, small_data):
    """Runs `bench run` with --keep-model in `r`, and returns the run id."""

    def run(method="fedper", keep="all", *words):
        options = ("--dataset", small_data, *SMALL, "--keep-model", keep, "--out", "r", "--json", *words)
        return json.loads(bench.ok("run", "--method", method, *options).out)

    return run


def again(bench, run_id, *words):
    return json.loads(bench.ok("run", "--from", run_id, "--out", "r", "--json", "--quiet", *words).out)


@pytest.mark.parametrize(
    ("method", "keep"), [("fedper", "all"), ("head+scaffold", "all"), ("fedvpt+swa", "server"), ("fed3r", "server")]
)
def test_without_rounds_the_scores_are_those_of_the_kept_run(method, keep, bench, kept):
    source = kept(method, keep)
    evaluated = again(bench, source["run_id"], "--rounds", "0")
    for part in ("metrics", "metrics_prior", "metrics_prior_uncalibrated", "temperature", "unscored"):
        assert evaluated[part] == source[part], part
    assert evaluated["from"] == {"run_id": source["run_id"], "rounds": 2, "clients": "restored"}
    assert evaluated["run_id"] != source["run_id"]
    differing = {name for name, value in evaluated["config"].items() if source["config"][name] != value}
    assert differing == {"rounds", "from_run", "from_hash", "from_model"}


def test_keeping_a_model_does_not_change_the_run(bench, kept, small_data):
    source = kept()
    plain = ("run", "--method", "fedper", "--dataset", small_data, *SMALL, "--json", "--out")
    result = json.loads(bench.ok(*plain, "s").out)
    assert result["run_id"] == source["run_id"]
    assert result["metrics"] == source["metrics"]
    assert "model" not in result
    assert json.loads(bench.ok(*plain, "r").out)["model"] == source["model"]  # finished: it stays


def test_the_record_says_what_was_kept(bench, kept):
    source = kept("fedper", "server")
    path = Path("r") / source["run_id"] / "model.safetensors"
    assert source["model"]["kept"] == "server"
    assert source["model"]["bytes"] == path.stat().st_size
    found = model("r", source["run_id"])
    assert found.clients == {}
    assert sorted(found.server) == sorted(source["trainable"]["shared"])


def test_without_the_clients_tensors_they_start_fresh_and_the_record_says_so(bench, kept):
    source = kept("fedper", "server")
    assert again(bench, source["run_id"], "--rounds", "0")["from"]["clients"] == "fresh"


def test_other_options_apply_to_the_new_run_and_the_rest_is_that_of_the_source(bench, kept):
    source = kept("fedvpt", "server", "--lr", "0.02", "--set", "fedvpt.tokens=3")
    more = again(bench, source["run_id"], "--rounds", "1", "--partition", "iid", "--lr", "0.01", "--seed", "4")
    assert more["config"]["settings"]["fedvpt"]["tokens"] == 3
    assert (more["config"]["lr"], more["config"]["partition"], more["seed"]) == (0.01, "iid", 4)
    assert (more["alpha"], more["config"]["clients"]) == (None, 6)
    assert more["from"]["clients"] == "fresh"  # other clients


def test_the_command_of_a_record_repeats_the_run(bench, kept):
    source = kept()
    first = again(bench, source["run_id"], "--rounds", "1", "--keep-model", "server")
    line = command(first["config"]).split()
    assert line[line.index("--from") + 1].endswith(f"r/{source['run_id']}")
    repeated = json.loads(bench.ok(*line[1:], "--out", "s", "--json", "--quiet").out)
    assert repeated["run_id"] == first["run_id"]
    assert repeated["metrics"] == first["metrics"]
    assert "identical numbers" in bench.ok("reproduce", Path("r") / first["run_id"]).out


def test_the_id_of_a_run_depends_on_the_tensors_that_it_starts_from(bench, kept):
    ids = {again(bench, kept("fedper", keep, "--out", keep)["run_id"], "--rounds", "0", "--out", keep)["run_id"]
           for keep in ("server", "all")}  # fmt: skip
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--method", "head"), "the method of its model is fedper, that of this run is head"),
        (("--dataset", "digits"), "the number of classes of its model is 4, that of this run is 10"),
        (("--image-size", "16"), "the image size of its model is 32, that of this run is 16"),
        (("--checkpoint", "random"), "the weights file of its model is"),
        (("--standardize", "none"), "the --standardize of its model is features, that of this run is none"),
        (("--set", "fedper.tokens=3"), "its model has prompt of shape [10, 96], float32; this run's has shape [3, 96]"),
        (("--preset", "quick"), "omit one of them"),
        (("--rounds", "-1"), "--rounds -1: input should be greater than or equal to 0"),
        (("--eval-at", "3"), "--eval-at [3]: 3 lies after the last of 0 rounds"),
        (("--out", "elsewhere"), "elsewhere has no run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_does_not_fit_is_refused_in_one_line(words, expected, bench, kept):
    run_id = kept()["run_id"]
    answer = bench("run", "--from", run_id, "--out", "r", "--rounds", "0", *words)
    refused(answer, f"{expected}")
    assert len(answer.err.splitlines()) == 1
    assert [path.name for path in Path("r").glob("*/result.json")] == ["result.json"]


def test_a_run_that_kept_nothing_cannot_be_a_start(bench, kept, small_data):
    words = ("--method", "head", "--dataset", small_data, *SMALL, "--out", "r", "--json")
    result = json.loads(bench.ok("run", *words).out)
    refused(bench("run", "--from", result["run_id"], "--out", "r"), "kept no model", "--keep-model server")
    source = kept()
    path = Path("r") / source["run_id"] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(bench("run", "--from", source["run_id"], "--out", "r"), "truncated or no model")


def test_without_rounds_only_a_kept_model_is_evaluated(bench, small_data):
    refused(bench("run", "--method", "head", "--dataset", small_data, "--rounds", "0"), "--rounds 0")


def test_another_value_of_keep_model_is_refused(bench):
    for command_name in ("run", "sweep"):
        refused(bench(command_name, "--keep-model", "both"), "'both' is not one of server, all")


def test_a_sweep_keeps_the_model_of_every_run_and_names_finished_runs_without(bench, small_data):
    grid = ("sweep", "--methods", "head,fedncm", "--dataset", small_data, *SMALL, "--seed", "0", "--workers", "1")
    bench.ok(*grid, "--keep-model", "server", "--out", "r")
    for place in Path("r").glob("*/result.json"):
        assert "head.weight" in model("r", place.parent.name).server
    bench.ok(*grid, "--keep-model", "server", "--out", "r")
    refused(bench(*grid, "--keep-model", "all", "--out", "r"), "--keep-model all: 2 of these runs in r")


def test_merge_copies_models(bench, kept):
    run_id = kept()["run_id"]
    bench.ok("merge", "r", "--out", "merged")
    assert model("merged", run_id).clients.keys() == model("r", run_id).clients.keys()


def test_tables_compare_methods_that_continue_from_their_own_runs(bench, kept):
    for method in ("fedper", "head"):
        for seed in ("0", "1"):
            again(bench, kept(method, "server", "--seed", seed)["run_id"], "--rounds", "1")
    text = bench.ok("table", "r", "--metric", "seen.mean").out
    assert "continued=yes" in text
    assert "from_run" not in text
    assert sum(line.startswith(("fedper ", "head ")) for line in text.splitlines()) % 2 == 0
