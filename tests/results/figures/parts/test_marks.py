"""Arrows that mark points below `majority` and methods that still climb."""

import numpy as np
import pytest
from matplotlib.text import Text

from fedprompt.results.figures.drawing import accuracy_by_alpha, accuracy_by_bytes, seen_and_held_out
from fedprompt.results.records.frames import load


@pytest.mark.parametrize("figure_of", [accuracy_by_alpha, seen_and_held_out, accuracy_by_bytes])
@pytest.mark.parametrize("others", [0, 12])
def test_an_arrow_marks_points_below_majority(write, runs, figure_of, others):
    write("majority", seen=0.6, held_out=0.5)
    write("low", seen=0.55, held_out=0.5)
    write("high", seen=0.7, held_out=0.6)
    for i in range(others):
        write(f"m{i}", seen=0.7, held_out=0.6)
    figure = figure_of(load(runs))
    marked = [text.xy for axis in figure.axes for text in axis.texts if text.get_text() == "↓"]
    assert len(marked) == 1
    assert 55 in np.round(marked[0], 6)
    assert figure.data.set_index("method")["below_majority"].to_dict()["low"]
    assert any("below majority" in text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize("figure_of", [accuracy_by_alpha, seen_and_held_out, accuracy_by_bytes])
@pytest.mark.parametrize("others", [0, 12])
def test_an_arrow_marks_methods_that_still_climb(write, runs, figure_of, others):
    write("rising", seen=0.55, convergence={"seen_change": 0.03})
    write("flat", seen=0.7, convergence={"seen_change": 0.01})
    for i in range(others):
        write(f"m{i}", seen=0.7)
    figure = figure_of(load(runs))
    marked = [text.xy for axis in figure.axes for text in axis.texts if text.get_text() == "↗"]
    assert len(marked) == 1
    assert 55 in np.round(marked[0], 6)
    assert any("still climbing" in text.get_text() for text in figure.findobj(Text))


def test_without_majority_no_point_is_marked(write, runs):
    write("low", seen=0.1)
    write("high", seen=0.9)
    figure = accuracy_by_alpha(load(runs))
    assert not any("↓" in text.get_text() for text in figure.findobj(Text))
