import pytest

from fedprompt.results.figures.drawing import accuracy_over_rounds, per_client
from fedprompt.results.figures.inputs import families
from fedprompt.results.figures.parts.families import MAX_COLOURED, grouped
from fedprompt.results.records.frames import clients, rounds

NAMES = [f"m{i:02d}" for i in range(12)]
FAMILIES = {name: "prompts" if i < 10 else "heads" for i, name in enumerate(NAMES)}


def test_a_large_family_is_split_into_equal_parts_and_small_families_share_a_row():
    names = {"big": [f"b{i}" for i in range(10)], "few": ["f0", "f1"], "one": ["o"]}
    known = {name: family for family, members in names.items() for name in members}
    found = grouped([*names["one"], *names["big"], *names["few"]], known)
    assert found == [("big", names["big"][:5]), ("big, few, one", [*names["big"][5:], "f0", "f1", "o"])]
    assert max(len(members) for _, members in found) <= MAX_COLOURED


def test_methods_without_a_family_are_grouped():
    assert [len(members) for _, members in grouped(NAMES, {})] == [6, 6]


@pytest.fixture
def many(write, runs):
    """Twelve methods of two families in two settings."""
    for alpha in (0.05, 0.5):
        for i, name in enumerate(NAMES):
            write(name, alpha, seen=0.5 - 0.01 * i, family=FAMILIES[name])
    return runs


@pytest.mark.parametrize(("figure_of", "read"), [(accuracy_over_rounds, rounds), (per_client, clients)])
def test_each_of_many_methods_is_a_named_line_in_one_row_of_panels(many, figure_of, read):
    figure = figure_of(read(many))
    drawn = [axis for axis in figure.axes if axis.lines]
    rows = [{line.get_label() for line in axis.lines if line.get_label() in NAMES} for axis in drawn]
    assert rows[0] == rows[1]  # the same methods in both settings
    assert sorted(name for row in rows[::2] for name in row) == NAMES
    legends = [axis.get_legend() for axis in drawn if axis.get_legend()]
    assert [{text.get_text() for text in legend.get_texts()} for legend in legends] == rows[1::2]
    assert {name for legend in legends for name in legend.get_title().get_text().split(", ")} == {"prompts", "heads"}
    figure.draw_without_rendering()
    assert all(legend.get_window_extent().x1 <= figure.bbox.x1 for legend in legends)


def test_families_are_read_from_the_rows(many):
    assert families(rounds(many)) == FAMILIES
    assert families(rounds(many).drop(columns="family")) == {}
