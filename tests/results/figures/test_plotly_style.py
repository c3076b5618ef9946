import plotly.graph_objects as go
import pytest

from fedprompt.results.figures.method_styles import COLOURS, LINES, MARKERS, PLACES, Style, assign
from fedprompt.results.figures.plotly_style import plotly_dash, plotly_symbol

STYLES = [Style(COLOURS[0], marker, line) for marker in MARKERS for line in LINES]


def test_every_marker_and_line_has_its_own_symbol_and_dash_that_plotly_knows():
    looks = [(plotly_symbol(style), plotly_dash(style)) for style in STYLES]
    for symbol, dash in looks:
        go.Scatter(marker={"symbol": symbol}, line={"dash": dash})  # refuses unknown values
    assert len(set(looks)) == len({symbol for symbol, _ in looks}) == len(STYLES)
    assert len({dash for _, dash in looks}) == len(LINES)


@pytest.mark.parametrize(
    ("marker", "line", "symbol", "dash"),
    [
        ("o", LINES[0], "circle", "solid"),
        ("s", LINES[1], "square-open", "10px,3px"),
        ("^", LINES[2], "triangle-up-open-dot", "2px,2.4px"),
        ("*", LINES[3], "star-dot", "10px,3px,2px,3px"),
    ],
)
def test_symbols_and_dashes_are_those_of_the_figures(marker, line, symbol, dash):
    style = Style("#000000", marker, line)
    assert (plotly_symbol(style), plotly_dash(style)) == (symbol, dash)


def test_dashes_are_multiples_of_the_lines_width():
    assert plotly_dash(Style("#000000", "o", LINES[1]), width=1) == "5px,1.5px"


def test_in_lines_without_markers_the_first_forty_methods_differ_in_colour_or_dash():
    styles = [assign([name])[name] for name, place in PLACES.items() if place < 40]
    assert len({(style.colour, plotly_dash(style)) for style in styles}) == 40
