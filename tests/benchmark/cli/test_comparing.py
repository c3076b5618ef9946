import json

import pytest

from tests.benchmark.conftest import refused


def test_compare_pairs_the_runs_of_two_methods(bench, directory):
    answer = bench("compare", directory, "head", "fedvpt")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("head minus fedvpt, seen.mean, points; runs paired by setting and seed")
    found = json.loads(bench("compare", directory, "head", "fedvpt", "--json").out)
    assert (found["unit"], found["differences"][0]["n"]) == ("run", 1)  # the second seed of fedvpt failed


def test_compare_names_its_family_and_judges_against_a_margin(bench, directory):
    assert (
        "family: this pair, if it was chosen before the runs: 1 comparison in 1 setting"
        in bench("compare", directory, "head", "fedvpt").out
    )
    answer = bench("compare", directory, "head", "fedvpt", "--family", "all", "--margin", "2")
    assert "family: the 1 comparison of `bench table --metric seen.mean --reference fedvpt`" in answer.out
    assert "untestable; against the margin: undecided" in answer.out
    found = json.loads(bench("compare", directory, "head", "fedvpt", "--margin", "2", "--json").out)
    assert (found["family"], found["margin"], found["differences"][0]["practical"]) == ("pair", 2, "undecided")


def test_compare_pairs_clients_within_runs(bench, directory):
    assert "clients paired within one run" in bench("compare", directory, "head", "fedvpt", "--clients").out
    rows = json.loads(bench("compare", directory, "head", "fedvpt", "--clients", "--json").out)
    assert {row["unit"] for row in rows} == {"client"}


def test_compare_shows_published_and_measured_numbers(bench, directory):
    assert "comparable? no" in bench("compare", directory, "--published").out
    rows = json.loads(bench("compare", directory, "--published", "--json").out)
    assert {row["measured"] for row in rows} == {None}


def test_verify_checks_claims_against_the_runs(bench, directory, tmp_path):
    answer = bench("verify", directory)
    assert (answer.code, answer.err) == (0, "")
    assert "pep-fedpt-surpasses-all: not tested" in answer.out
    check = "{kind: beats, method: head, rivals: [fedvpt], metrics: [seen.mean]}"
    (tmp_path / "mine.yaml").write_text(f"[{{id: mine, source: s, wording: w, settings: {{}}, check: {check}}}]")
    (found,) = json.loads(bench("verify", directory, "--claims", tmp_path / "mine.yaml", "--json").out)
    assert (found["id"], found["verdict"], found["comparisons"][0]["n"]) == ("mine", "not significant", 1)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["compare", "DIR", "head"], "two methods"),
        (["compare", "DIR"], "two methods"),
        (["compare", "DIR", "head", "head"], "cannot compare head with itself"),
        (["compare", "DIR", "head", "fedvp"], "fedvpt"),
        (["compare", "DIR", "head", "--published"], "head"),
        (["compare", "DIR", "head", "fedvpt", "--metric", "seen.best"], "seen.best"),
        (["compare", "DIR", "head", "fedvpt", "--family", "both"], "both"),
        (["compare", "DIR", "head", "fedvpt", "--margin", "-1"], "--margin"),
        (["compare", "DIR", "head", "fedvpt", "--clients", "--margin", "1"], "--margin"),
        (["compare", "absent", "head", "fedvpt"], "absent"),
        (["verify", "absent"], "absent"),
        (["verify", "DIR", "--claims", "absent.yaml"], "absent.yaml"),
        (["table", "DIR", "--group", "colour"], "colour"),
        (["table", "DIR", "--reference", "hed"], "head"),
    ],
)
def test_invalid_comparison_is_refused_by_name(words, named, bench, directory):
    refused(bench(*[str(directory) if word == "DIR" else word for word in words]), named)
