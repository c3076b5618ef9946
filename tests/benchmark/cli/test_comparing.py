import json
from pathlib import Path

import pytest

from tests.benchmark.conftest import Bench, refused


def test_two_methods_are_compared_pair_by_pair(bench: Bench, directory: Path) -> None:
    said = bench("compare", directory, "head", "fedvpt")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("head minus fedvpt, seen.mean, points; runs paired by setting and seed")
    found = json.loads(bench("compare", directory, "head", "fedvpt", "--json").out)
    assert (found["unit"], found["differences"][0]["n"]) == ("run", 1)  # the second seed of fedvpt failed


def test_clients_of_two_methods_are_compared_within_their_runs(bench: Bench, directory: Path) -> None:
    assert "clients paired within one run" in bench("compare", directory, "head", "fedvpt", "--clients").out
    rows = json.loads(bench("compare", directory, "head", "fedvpt", "--clients", "--json").out)
    assert {row["unit"] for row in rows} == {"client"}


def test_published_numbers_stand_beside_ours(bench: Bench, directory: Path) -> None:
    assert "comparable? no" in bench("compare", directory, "--published").out
    rows = json.loads(bench("compare", directory, "--published", "--json").out)
    assert {row["measured"] for row in rows} == {None}


def test_claims_are_held_against_the_runs(bench: Bench, directory: Path, tmp_path: Path) -> None:
    said = bench("verify", directory)
    assert (said.code, said.err) == (0, "")
    assert "pep-fedpt-surpasses-all: not tested" in said.out
    check = "{kind: beats, method: head, baselines: [fedvpt], metrics: [seen.mean]}"
    (tmp_path / "mine.yaml").write_text(f"[{{id: mine, source: s, wording: w, settings: {{}}, check: {check}}}]")
    (found,) = json.loads(bench("verify", directory, "--claims", tmp_path / "mine.yaml", "--json").out)
    assert (found["id"], found["verdict"], found["comparisons"][0]["n"]) == ("mine", "not significant", 1)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["compare", "DIR", "head"], "two methods"),
        (["compare", "DIR"], "two methods"),
        (["compare", "DIR", "head", "head"], "head with itself"),
        (["compare", "DIR", "head", "fedvp"], "fedvpt"),
        (["compare", "DIR", "head", "--published"], "head"),
        (["compare", "DIR", "head", "fedvpt", "--metric", "seen.best"], "seen.best"),
        (["compare", "absent", "head", "fedvpt"], "absent"),
        (["verify", "absent"], "absent"),
        (["verify", "DIR", "--claims", "absent.yaml"], "absent.yaml"),
        (["table", "DIR", "--group", "colour"], "colour"),
        (["table", "DIR", "--reference", "hed"], "head"),
    ],
)
def test_what_cannot_be_compared_is_named(words: list[str], named: str, bench: Bench, directory: Path) -> None:
    refused(bench(*[str(directory) if word == "DIR" else word for word in words]), named)
