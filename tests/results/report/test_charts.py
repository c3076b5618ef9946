import numpy as np
import pandas as pd
import pytest

from fedprompt.results.figures.method_styles import PLACES, assign
from fedprompt.results.figures.plotly_style import plotly_dash, plotly_symbol
from fedprompt.results.records.frames import clients, load, rounds
from fedprompt.results.report import charts

SETTING = "digits dirichlet(0.05)"


def test_a_curve_is_the_mean_over_seeds_of_the_evaluated_rounds(write, runs):
    write(seed=0, seen=0.5)
    write(seed=1, seen=0.7)
    line = charts.curves(rounds(runs))["lines"]["seen_mean"][SETTING]["fedvpt"]
    assert (line["x"], line["y"]) == ([0, 2], [10, 60])
    assert line["customdata"] == pytest.approx([0, 14.14])


def test_each_column_of_the_rounds_has_its_own_rounds():
    frame = pd.DataFrame({"setting": "c", "method": "m", "seed": 0, "round": [1, 2], "seen_mean": [0.25, 0.5]})
    lines = charts.curves(frame.assign(held_out_mean=[None, 0.75]))["lines"]
    assert lines["seen_mean"]["c"]["m"] == {"x": [1, 2], "y": [25, 50], "customdata": [0, 0]}
    assert lines["held_out_mean"]["c"]["m"] == {"x": [2], "y": [75], "customdata": [0]}
    assert "personalised_mean" not in lines


def long_curves(methods):
    names = [f"m{i}" for i in range(methods)]
    frames = [pd.DataFrame({"setting": "c", "method": name, "seed": 0, "round": range(100)}) for name in names]
    found = charts.curves(pd.concat(frames).assign(seen_mean=0.5))["lines"]["seen_mean"]["c"]
    return [line["x"] for line in found.values()]


def test_a_long_curve_is_thinned_and_keeps_both_ends(monkeypatch):
    (line,) = long_curves(1)
    assert len(line) == charts.MAX_POINTS
    assert (line[0], line[-1]) == (0, 99)
    monkeypatch.setattr(charts, "ALL_POINTS", 90)
    assert [len(line) for line in long_curves(3)] == [30] * 3
    assert [len(line) for line in long_curves(90)] == [charts.MIN_POINTS] * 90


def test_sorted_clients_are_those_of_the_metrics_group_from_worst_to_best(write, runs):
    write()
    chart = charts.sorted_clients(clients(runs))
    assert (chart["shares"][0], chart["shares"][-1], len(chart["shares"])) == (0, 100, len(charts.SHARES))
    seen = chart["lines"]["accuracy seen"][SETTING]["fedvpt"]
    assert seen == pytest.approx(np.linspace(25, 75, len(charts.SHARES)), abs=0.01)  # of two clients
    assert chart["lines"]["accuracy held out"][SETTING]["fedvpt"] == [100] * len(charts.SHARES)
    assert chart["lines"]["accuracy_prior seen"][SETTING]["fedvpt"][0] == 50
    assert chart["lines"]["accuracy_personalised seen"] == {}


def test_quantiles_of_clients_are_those_of_numpy(generator):
    sizes = {"a": 1, "b": 7, "c": 40}
    frames = [pd.DataFrame({"method": name, "accuracy": generator.random(size)}) for name, size in sizes.items()]
    frame = pd.concat(frames).assign(setting="s", held_out=False, rounds_trained=lambda rows: rows.index % 2)
    lines = charts.sorted_clients(frame)["lines"]
    for name, rows in frame.groupby("method"):
        expected = 100 * np.quantile(rows["accuracy"], charts.SHARES)
        assert lines["accuracy seen"]["s"][name] == pytest.approx(expected, abs=0.006)
        if name != "a":
            trained = 100 * np.quantile(rows.loc[rows["rounds_trained"] > 0, "accuracy"], charts.SHARES)
            assert lines["accuracy trained"]["s"][name] == pytest.approx(trained, abs=0.006)
    assert "a" not in lines["accuracy trained"]["s"]  # its client never trained


def test_costs_are_means_over_seeds(write, runs):
    write(seed=0)
    write(seed=1, communication={"upload_bytes": 500_000, "download_bytes": 0})
    write("local", communication={"upload_bytes": 0, "download_bytes": 0})
    assert charts.costs(load(runs))["lines"][SETTING] == {"fedvpt": [1.5, 4.0], "local": [0, 4.0]}


def test_a_partition_of_few_clients_is_shown_whole(write, runs):
    write()
    chart = charts.partitions(clients(runs))[SETTING]
    assert chart["trace"]["z"] == [[4, 1, None, 1], [None, 2, None, None], [None, None, 5, 1]]
    assert chart["layout"]["shapes"][0]["x0"] == 2.5  # client 3 is held out
    assert chart["table"][-1] == ["3 (held out)", 1, 0, 1]


def test_a_partition_of_many_clients_and_classes_is_thinned_and_summed():
    counts = [np.ones(250, int).tolist()] * 1000
    frame = pd.DataFrame({"setting": "c", "run_id": "r", "seed": 0, "client": range(1000), "held_out": False})
    chart = charts.partitions(frame.assign(class_counts=counts))["c"]
    z = chart["trace"]["z"]
    assert (len(z[0]), len(z)) == (100, 100)
    assert chart["layout"]["xaxis"]["title"]["text"] == "100 of 1000 clients"
    assert np.sum(z, axis=0).tolist() == [250] * 100


def test_the_template_gives_every_method_its_own_look_in_both_themes():
    styles = assign(PLACES)
    light, dark = (charts.template(list(PLACES), styles, dark)["data"]["scatter"] for dark in (False, True))
    assert [look["name"] for look in light] == list(PLACES)
    assert light[0]["line"] == {"color": styles["pep-fedpt"].colour, "dash": "solid", "width": 2}
    assert dark[0]["line"]["color"] > light[0]["line"]["color"]  # lighter
    for looks in (light, dark):
        whole = {(look["line"]["color"], look["line"]["dash"], look["marker"]["symbol"]) for look in looks}
        assert len(whole) == len({look["marker"]["symbol"] for look in looks}) == len(PLACES)
    for place, name in enumerate(PLACES):
        assert light[place]["line"]["dash"] == plotly_dash(styles[name])
        assert light[place]["marker"]["symbol"] == plotly_symbol(styles[name])


def test_names_are_escaped_from_plotlys_markup():
    looks = charts.template(["<b>"], assign(["<b>"]))["data"]["scatter"]
    assert looks[0]["name"] == "&lt;b&gt;"
