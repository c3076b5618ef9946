import pytest

from fedprompt.results.figures.drawing import accuracy_over_rounds, per_client
from fedprompt.results.figures.families import TOGETHER, grouped
from fedprompt.results.figures.lines import families
from fedprompt.results.records.frames import clients, rounds

NAMES = [f"m{i:02d}" for i in range(12)]
FAMILIES = {name: "prompts" if i < 10 else "heads" for i, name in enumerate(NAMES)}


def test_a_family_of_many_is_cut_into_equal_parts_and_small_ones_share_a_row():
    names = {"big": [f"b{i}" for i in range(10)], "few": ["f0", "f1"], "one": ["o"]}
    known = {name: family for family, members in names.items() for name in members}
    found = grouped([*names["one"], *names["big"], *names["few"]], known)
    assert found == [("big", names["big"][:5]), ("big, few, one", [*names["big"][5:], "f0", "f1", "o"])]
    assert max(len(members) for _, members in found) <= TOGETHER


def test_methods_without_a_family_are_grouped_all_the_same():
    assert [len(members) for _, members in grouped(NAMES, {})] == [6, 6]


@pytest.fixture
def many(write, runs):
    """Twelve methods of two families in two settings."""
    for alpha in (0.05, 0.5):
        for i, name in enumerate(NAMES):
            write(name, alpha, seen=0.5 - 0.01 * i, family=FAMILIES[name])
    return runs


@pytest.mark.parametrize(("draw", "read"), [(accuracy_over_rounds, rounds), (per_client, clients)])
def test_every_method_of_a_crowd_is_a_named_line_in_one_row_of_panels(many, draw, read):
    figure = draw(read(many))
    drawn = [axis for axis in figure.axes if axis.lines]
    rows = [{line.get_label() for line in axis.lines if line.get_label() in NAMES} for axis in drawn]
    assert rows[0] == rows[1]  # the same methods in both settings
    assert sorted(name for row in rows[::2] for name in row) == NAMES
    legends = [axis.get_legend() for axis in drawn if axis.get_legend()]
    assert [{text.get_text() for text in legend.get_texts()} for legend in legends] == rows[1::2]
    assert {name for legend in legends for name in legend.get_title().get_text().split(", ")} == {"prompts", "heads"}
    figure.draw_without_rendering()
    assert all(legend.get_window_extent().x1 <= figure.bbox.x1 for legend in legends)


def test_the_rows_tell_a_methods_family(many):
    assert families(rounds(many)) == FAMILIES
    assert families(rounds(many).drop(columns="family")) == {}
