import json

import pytest

from fedprompt.results.claims import verdicts
from fedprompt.results.claims.literature import beside_published
from fedprompt.results.claims.verification import read, verify
from fedprompt.results.records.frames import clients, load
from fedprompt.results.statistics import pairs
from fedprompt.results.statistics.best import all_pairs
from fedprompt.results.statistics.comparison import compare
from fedprompt.results.statistics.pairs import paired
from fedprompt.results.tables.leaderboard import difference_table
from fedprompt.results.tables.render import render


def compared(runs, metric="seen.mean", family="pair", margin=None):
    """What `bench compare a b` prints."""
    return verdicts.comparison(compare(load(runs), metric, "a", "b", family, margin))


def test_a_comparison_shows_the_numbers_the_verdicts_and_their_family(write, runs):
    for alpha in (0.05, 0.5):
        for seed in range(6):
            write("a", alpha, seed, 0.7 + 0.01 * seed)
            write("b", alpha, seed, 0.5 + 0.01 * seed)
    lines = compared(runs).splitlines()
    assert lines[0] == "a minus b, seen.mean, points; runs paired by setting and seed"
    numbers = "p = 0.031, adjusted 0.031: significantly better"
    assert lines[1] == f"  digits dirichlet(0.05)  +20 [+20, +20]  6 seeds, {numbers}"
    assert lines[3] == f"  all settings            +20 [+20, +20]  12 pairs of 6 seeds, {numbers}"
    assert lines[4].startswith("  a is better in 100% of 12 pairs (95 % exact interval 74% to 100%)")
    assert lines[5] == (
        "  family: this pair, if it was chosen before the runs: 3 comparisons in 2 settings and in their mean; "
        "p adjusted by max-T"
    )
    assert len(lines) == 6


@pytest.fixture
def crowded(write, runs):
    """Six seeds of `a`, ahead of `b` in each by 1, 2, ... 6 points, and of three others, 10 points off."""
    for seed, signs in enumerate([(1, 1, 1), (1, 1, -1), (1, -1, 1), (1, -1, -1), (-1, 1, 1), (-1, 1, -1)]):
        write("b", seed=seed, seen=0.5)
        write("a", seed=seed, seen=0.5 + 0.01 * (1 + seed))
        for other, sign in enumerate(signs):
            write(f"m{other}", seed=seed, seen=0.5 + 0.1 * sign)
    return runs


def test_a_pair_that_the_table_does_not_call_significant_is_shown_as_such(crowded):
    text = compared(crowded)
    assert "adjusted 0.031: significantly better" in text
    whole = "the 4 comparisons of `bench table --metric seen.mean --reference b`"
    assert f"not significant among {whole} (--family all): digits dirichlet(0.05)" in text
    everyone = "all pairs, the 10 comparisons of `bench table --metric seen.mean`"
    assert f"not significant among {everyone}: digits dirichlet(0.05)" in text
    text = compared(crowded, family="all")
    assert ": not significant" in text
    assert f"family: {whole}: 4 methods minus b in 1 setting" in text
    assert "not significant among" not in text


def test_the_family_of_all_has_the_p_and_the_verdict_of_the_table(crowded):
    table = difference_table(load(crowded), ["held_out.mean", "seen.mean"], "b")
    row = table.loc["a", ("digits dirichlet(0.05)", "seen.mean")]
    assert f"adjusted {row['p_adjusted']:.2g}: {row['verdict']}" in compared(crowded, family="all")
    alone = difference_table(load(crowded), ["seen.mean"], "b")
    assert alone.loc["a", ("digits dirichlet(0.05)", "seen.mean")].equals(row)  # whatever else the table shows
    assert "+3.5 [" in render(table, "text")  # without the mark of a significant difference


def test_a_comparison_has_the_p_of_both_families_of_tables(crowded, generator):
    row = compare(load(crowded), "seen.mean", "a", "b").rows.iloc[0]
    pairs = all_pairs(paired(load(crowded), "seen.mean"), generator).set_index(["setting", "method", "other"])
    assert row["p_all_pairs"] == pairs.loc[(row["setting"], "a", "b"), "p_adjusted"]
    assert row["p_adjusted"] < row["p_reference"] < row["p_all_pairs"]


def test_a_comparison_against_a_margin_has_a_verdict_of_practice(crowded):
    assert "significantly better; against the margin: undecided" in compared(crowded, margin=0.02)
    assert "significantly better; against the margin: equal" in compared(crowded, margin=0.07)
    assert "significantly better; against the margin: better" in compared(crowded, margin=0.001)


def test_a_comparison_of_few_seeds_is_untestable_and_states_the_number_needed(write, runs):
    for name, seen in (("a", 0.7), ("b", 0.5)):
        for seed in range(2):
            write(name, seed=seed, seen=seen)
    text = compared(runs)
    assert "2 seeds: untestable" in text
    assert "untestable with 2 seeds: p is at least 0.5; 6 seeds are needed" in text
    assert "all settings" not in text


def test_costs_are_not_shown_as_points(write, runs):
    write("a", seconds={"total": 30.0})
    write("b", seconds={"total": 20.0})
    assert "+10  1 seed: untestable" in compared(runs, "seconds")


def test_a_remainder_of_rounding_is_shown_as_zero(write, runs):
    write("a", seen=0.1 + 0.2)
    write("b", seen=0.3)
    assert "+0  1 seed: untestable" in compared(runs)


def test_a_comparison_by_clients_states_that_it_holds_for_two_trained_models(write, runs, generator):
    write("a")
    write("b")
    text = verdicts.clients(pairs.per_client(clients(runs), "a", "b", generator), "a", "b")
    assert "clients paired within one run" in text
    assert "2 clients" in text
    assert "not for other seeds" in text


def test_other_settings_are_reported_separately_from_the_verdict(write, runs, generator):
    for seed in range(2):
        write("pep-fedpt", seed=seed, seen=0.6)
        write("fedvpt", seed=seed, seen=0.5)
    found = verify(load(runs), read()[:1], generator)
    text = verdicts.findings(found)
    verdict, elsewhere = text.split(
        "  In other settings, which the claim does not cover and which do not affect the verdict:\n"
    )
    assert verdict.startswith("pep-fedpt-surpasses-all: not tested\n")
    assert "digits" not in verdict
    assert "on digits dirichlet(0.05): pep-fedpt is ahead in 1 of 1 comparisons" in elsewhere
    whole = json.loads(json.dumps(verdicts.finding_json(found[0])))
    assert (whole["verdict"], whole["comparisons"]) == ("not tested", [])
    assert whole["on_other_settings"]["comparisons"][0]["value"] == pytest.approx(0.1)


def test_published_numbers_are_shown_with_the_reason_why_they_cannot_be_compared(write, runs):
    write("fedvpt", 0.1, seen=0.5, dataset="cifar100")
    text = verdicts.published(beside_published(load(runs)))
    assert "fedvpt           cifar100 dirichlet(0.1)          published 45.3  measured 50.0 (1 run)" in text
    assert "measured not run" in text
    assert "comparable? no: " in text


def test_runs_without_a_published_method_get_a_message(write, runs):
    write("mine")
    assert verdicts.published(beside_published(load(runs))).startswith("none of the methods")
