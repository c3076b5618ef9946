import numpy as np
import pandas as pd
import pytest

from fedprompt.results.figures.style import assign
from fedprompt.results.records.frames import clients, load, rounds
from fedprompt.results.report import content

SETTING = "digits dirichlet(0.05)"


def test_a_curve_is_the_mean_over_seeds_of_the_rounds_that_were_evaluated(write, runs):
    write(seed=0, seen=0.5)
    write(seed=1, seen=0.7)
    found = content.curves(rounds(runs))[SETTING]["fedvpt"]
    assert found["round"] == [0, 2]
    assert found["mean"] == [10, 60]
    assert found["std"] == pytest.approx([0, 14.14])


def test_a_long_curve_keeps_its_ends_and_no_more_than_the_points_allowed():
    frame = pd.DataFrame({"setting": "c", "method": "m", "seed": 0, "round": range(1000), "seen_mean": 0.5})
    kept = content.curves(frame)["c"]["m"]["round"]
    assert len(kept) == content.POINTS
    assert (kept[0], kept[-1]) == (0, 999)


def test_sorted_clients_run_from_the_worst_to_the_best_of_the_seen(write, runs):
    write()
    found = content.sorted_clients(clients(runs))[SETTING]["fedvpt"]
    assert (found[0], found[-1]) == (25, 75)  # the held-out client's 100 is not among them
    assert len(found) == len(content.SHARES)


def test_costs_are_means_over_seeds_with_none_for_what_was_not_measured(write, runs):
    write(seed=0, held_out=None)
    write(seed=1, held_out=None, communication={"upload_bytes": 500_000, "download_bytes": 0})
    found = content.costs(load(runs))[SETTING]["fedvpt"]
    assert found == {"seen": 50, "held_out": None, "upload_mb": 1.5, "seconds": 4.0}


def test_a_partition_of_few_clients_is_shown_whole(write, runs):
    write()
    found = content.partitions(clients(runs))[SETTING]
    assert found["counts"] == [[4, 1, 0, 1], [0, 2, 0, 0], [0, 0, 5, 1]]
    assert found["held_out"] == [False, False, False, True]


def test_a_partition_of_many_clients_and_classes_is_thinned_and_summed():
    counts = [np.ones(250, int).tolist()] * 1000
    frame = pd.DataFrame({"setting": "c", "run_id": "r", "seed": 0, "client": range(1000), "held_out": False})
    found = content.partitions(frame.assign(class_counts=counts))["c"]
    assert (len(found["clients"]), len(found["counts"]), found["of"]) == (100, 100, 1000)
    assert np.sum(found["counts"], axis=0).tolist() == [250] * 100


def test_every_method_has_a_mark_that_plotly_knows():
    names = {"circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "pentagon", "star"}
    styles = assign(f"m{i}" for i in range(60))
    assert {look["symbol"] for look in content.looks(styles).values()} <= names | {"triangle-left", "triangle-right"}
