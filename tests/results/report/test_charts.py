import numpy as np
import pandas as pd
import pytest

from fedprompt.results.figures.style import LINES, MARKERS, PLACES, assign
from fedprompt.results.records.frames import clients, load, rounds
from fedprompt.results.report import charts

SETTING = "digits dirichlet(0.05)"


def test_a_curve_is_the_mean_over_seeds_of_the_evaluated_rounds(write, runs):
    write(seed=0, seen=0.5)
    write(seed=1, seen=0.7)
    chart = charts.curves(rounds(runs), ["fedvpt"])[SETTING]
    (line,) = chart["data"]
    assert (line["x"], line["y"]) == ([0, 2], [10, 60])
    assert line["customdata"] == pytest.approx([0, 14.14])
    assert chart["table"] == [["method", 0, 2], ["fedvpt", 10, 60]]


def test_a_long_curve_is_thinned_and_keeps_both_ends():
    frame = pd.DataFrame({"setting": "c", "method": "m", "seed": 0, "round": range(1000), "seen_mean": 0.5})
    (line,) = charts.curves(frame, ["m"])["c"]["data"]
    assert len(line["x"]) == charts.MAX_POINTS
    assert (line["x"][0], line["x"][-1]) == (0, 999)


def test_sorted_clients_are_the_seen_clients_from_worst_to_best(write, runs):
    write()
    chart = charts.sorted_clients(clients(runs), ["fedvpt"])[SETTING]
    (line,) = chart["data"]
    assert (line["y"][0], line["y"][-1]) == (25, 75)  # the held-out client has 100
    assert len(line["x"]) == len(line["y"]) == len(charts.SHARES)
    assert chart["table"][0] == ["method", "0 %", "25 %", "50 %", "75 %", "100 %"]
    assert chart["table"][1] == ["fedvpt", *np.linspace(25, 75, 5)]


def test_costs_are_means_over_seeds_and_none_for_missing_values(write, runs):
    write(seed=0, held_out=None)
    write(seed=1, held_out=None, communication={"upload_bytes": 500_000, "download_bytes": 0})
    write("local", communication={"upload_bytes": 0, "download_bytes": 0})
    chart = charts.costs(load(runs), ["fedvpt", "local"])[SETTING]
    assert chart["table"][1:] == [["fedvpt", 50, None, 1.5, 4.0], ["local", 50, 40, 0, 4.0]]
    assert [(point["x"], point["y"]) for point in chart["data"]] == [([1.5], [50]), ([0.5], [50])]  # 0 has no logarithm


def test_a_partition_of_few_clients_is_shown_whole(write, runs):
    write()
    chart = charts.partitions(clients(runs))[SETTING]
    assert chart["data"][0]["z"] == [[4, 1, None, 1], [None, 2, None, None], [None, None, 5, 1]]
    assert chart["layout"]["shapes"][0]["x0"] == 2.5  # client 3 is held out
    assert chart["table"][-1] == ["3 (held out)", 1, 0, 1]


def test_a_partition_of_many_clients_and_classes_is_thinned_and_summed():
    counts = [np.ones(250, int).tolist()] * 1000
    frame = pd.DataFrame({"setting": "c", "run_id": "r", "seed": 0, "client": range(1000), "held_out": False})
    chart = charts.partitions(frame.assign(class_counts=counts))["c"]
    z = chart["data"][0]["z"]
    assert (len(z[0]), len(z)) == (100, 100)
    assert chart["layout"]["xaxis"]["title"]["text"] == "100 of 1000 clients"
    assert np.sum(z, axis=0).tolist() == [250] * 100


def test_trace_i_of_a_chart_is_method_i_and_empty_without_data(write, runs):
    write("b")
    write("c", 0.5)
    for made in (charts.curves(rounds(runs), list("abc")), charts.costs(load(runs), list("abc"))):
        assert [bool(trace.get("y")) for trace in made[SETTING]["data"]] == [False, True, False]


def test_the_template_gives_every_method_its_look_and_hides_those_beyond_the_best():
    styles = assign(PLACES)
    light, dark = (charts.template(list(PLACES), styles, dark)["data"]["scatter"] for dark in (False, True))
    assert [look["name"] for look in light] == list(PLACES)
    assert [look["visible"] for look in light] == [True] * 6 + ["legendonly"] * (len(PLACES) - 6)
    assert light[0]["line"] == {"color": styles["pep-fedpt"].colour, "dash": "solid", "width": 2}
    assert dark[0]["line"]["color"] > light[0]["line"]["color"]  # lighter
    assert {look["marker"]["symbol"] for look in light} == set(charts.SYMBOLS)
    assert (len(charts.SYMBOLS), len(charts.DASHES)) == (len(MARKERS), len(LINES))


def test_names_are_escaped_from_plotlys_markup():
    looks = charts.template(["<b>"], assign(["<b>"]))["data"]["scatter"]
    heat = charts.heat_map([[{"mean": 50.0, "below": False, "climbing": False}]], ["<b>"], ["<i>"])["data"][0]
    assert (looks[0]["name"], heat["y"], heat["x"]) == ("&lt;b&gt;", ["&lt;b&gt;"], ["&lt;i&gt;"])
