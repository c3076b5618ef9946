import numpy as np
import pytest
from matplotlib.lines import Line2D

from fedprompt.methods import registry
from fedprompt.results.figures.style import COLOURS, FILLS, LINES, MARKERS, PLACES, Plot, assign


@pytest.fixture(scope="module")
def registered():
    """The names of the built-in methods."""
    registry.discover()
    built_in = "fedprompt.methods."
    names = [name for name, method in registry.METHODS.items() if method.__module__.startswith(built_in)]
    assert names
    return names


def test_every_registered_method_has_its_own_style(registered):
    assert set(registered) <= set(PLACES)
    assert len(set(PLACES.values())) == len(PLACES)


def test_registered_methods_differ_in_marker_and_line_and_in_marker_and_colour(registered):
    styles = [assign([name])[name] for name in registered]
    assert len({(style.marker, style.line) for style in styles}) == len(styles)
    assert len({(style.marker, style.colour) for style in styles}) == len(styles)


def test_without_lines_the_fillings_distinguish_methods_in_grey(registered):
    def face(name):
        line = Line2D([], [], **assign([name])[name].keywords(lines=False))
        return line.get_marker(), line.get_fillstyle(), line.get_markerfacecolor() == "white"

    assert len({face(name) for name in registered}) == len(registered)


def test_fillings_match_lines_and_their_number_shares_no_divisor_with_the_markers():
    assert len(FILLS) == len(LINES)
    assert np.lcm(len(MARKERS), len(LINES)) == len(MARKERS) * len(LINES) >= len(PLACES)
    assert np.lcm(len(MARKERS), len(COLOURS)) >= len(PLACES)


def test_35_methods_differ_even_in_grey():
    styles = assign(f"method-{i}" for i in range(35))
    assert len({(style.marker, style.line) for style in styles.values()}) == 35


def test_styles_do_not_depend_on_the_order_of_methods():
    assert assign(["c", "a", "b", "a"]) == assign(["a", "b", "c"])


@pytest.mark.parametrize(
    ("name", "others"), [("sgpt", [*PLACES, *(f"mine-{i}" for i in range(9))]), ("my-method", ["fedvpt", "sgpt"])]
)
def test_a_method_looks_the_same_beside_others(name, others):
    assert assign([name])[name] == assign([name, *others])[name]


def test_a_variant_has_the_colour_of_its_method_and_another_marker():
    styles = assign(["pep-fedpt", "pep-fedpt:prior", "pep-fedpt layer=5"])
    assert len({style.colour for style in styles.values()}) == 1
    assert len({style.marker for style in styles.values()}) == 3


def test_text_in_a_methods_colour_has_enough_contrast_on_white():
    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for style in assign(PLACES).values():
        assert 1.05 / (luminance(style.ink) + 0.05) >= 3.0  # WCAG 1.4.11


def test_a_notebook_shows_a_figure_as_png_without_pyplot():
    figure = Plot(figsize=(3, 2))
    figure.add_subplot()
    picture = figure._repr_png_()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture[16:24] == (300).to_bytes(4, "big") + (200).to_bytes(4, "big")  # at 100 dots an inch
