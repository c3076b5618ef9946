import json

import numpy as np
import pytest

from fedprompt.results.claims import verdicts
from fedprompt.results.claims.literature import beside_published
from fedprompt.results.claims.verification import read, verify
from fedprompt.results.records.frames import clients, load
from fedprompt.results.statistics import pairs


@pytest.fixture
def generator():
    return np.random.default_rng(5)


def compared(runs, generator, metric="seen.mean"):
    frame = pairs.differences(load(runs), metric, "b", generator, ["a"])
    return verdicts.comparison(frame, "a", "b", metric, pairs.probability_of_improvement(load(runs), metric, "a", "b"))


def test_a_comparison_shows_the_numbers_and_the_significance_of_each_setting(write, runs, generator):
    for alpha in (0.05, 0.5):
        for seed in range(6):
            write("a", alpha, seed, 0.7 + 0.01 * seed)
            write("b", alpha, seed, 0.5 + 0.01 * seed)
    lines = compared(runs, generator).splitlines()
    assert lines[0] == "a minus b, seen.mean, points; runs paired by setting and seed"
    numbers = "+20 [+20, +20]  6 pairs, p = 0.031, Holm-corrected 0.062: not significant"
    assert lines[1] == f"  digits dirichlet(0.05)  {numbers}"
    numbers = "+20 [+20, +20]  12 pairs, p = 0.00049, Holm-corrected 0.00049: significantly better"
    assert lines[3] == f"  all settings            {numbers}"
    assert lines[4].startswith("  a is better in 100% of 12 pairs (95 % exact interval 74% to 100%)")


def test_a_comparison_of_few_seeds_states_their_smallest_p_and_the_number_needed(write, runs, generator):
    for name, seen in (("a", 0.7), ("b", 0.5)):
        for seed in range(2):
            write(name, seed=seed, seen=seen)
    assert "not significant: 2 pairs reach p = 0.5 at best; 6 pairs would be needed" in compared(runs, generator)
    assert "all settings" not in compared(runs, generator)


def test_costs_are_not_shown_as_points(write, runs, generator):
    write("a", seconds={"total": 30.0})
    write("b", seconds={"total": 20.0})
    assert "+10  1 pair," in compared(runs, generator, "seconds")


def test_a_remainder_of_rounding_is_shown_as_zero(write, runs, generator):
    write("a", seen=0.1 + 0.2)
    write("b", seen=0.3)
    assert "+0  1 pair," in compared(runs, generator)


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
