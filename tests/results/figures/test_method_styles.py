import numpy as np
import pytest
from matplotlib.lines import Line2D

from fedprompt.methods import registry
from fedprompt.results.figures.method_styles import (
    COLOURS,
    FILLS,
    LINES,
    MARKERS,
    PAIRS,
    PLACES,
    assign,
    blended,
    fixed,
)


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


def test_the_places_differ_in_two_of_colour_marker_and_line():
    styles = [fixed(place) for place in range(PAIRS)]
    assert len({(style.marker, style.line) for style in styles}) == 44
    assert len({(style.marker, style.colour) for style in styles}) == 44
    assert len({(style.colour, style.line) for style in styles[:40]}) == 40


def test_without_lines_the_fillings_distinguish_methods_in_grey(registered):
    def face(name):
        line = Line2D([], [], **assign([name])[name].keywords(lines=False))
        return line.get_marker(), line.get_fillstyle(), line.get_markerfacecolor() == "white"

    assert len({face(name) for name in registered}) == len(registered)


def test_fillings_match_lines_and_their_number_shares_no_divisor_with_the_markers():
    assert len(FILLS) == len(LINES)
    assert np.lcm(len(MARKERS), len(LINES)) == len(MARKERS) * len(LINES) >= len(PLACES)
    assert np.lcm(len(MARKERS), len(COLOURS)) >= len(PLACES)


def test_390_methods_of_users_differ_from_each_other_and_from_all_built_in_methods(registered):
    styles = assign([*registered, *(f"method-{i}" for i in range(390))])
    assert len(set(styles.values())) == len(styles)


@pytest.fixture(scope="module")
def variants(registered):
    """Every variant of a built-in method, and three methods with every plug-in."""
    named = [f"{name}:{variant}" for name in registered for variant in registry.METHODS[name].variants]
    return [*named, *(f"{name}+{plugin}" for name in ("pep-fedpt", "fedvpt", "head") for plugin in registry.OPTIMISERS)]


def test_no_two_methods_and_variants_share_colour_marker_and_line(registered, variants):
    assert len(variants) > 50
    styles = assign([*registered, *variants])
    assert len(set(styles.values())) == len(registered) + len(variants)


def test_a_variant_looks_the_same_beside_all_methods_and_nearly_always_beside_all_variants(registered, variants):
    alone = {name: assign([name])[name] for name in variants}
    assert all(assign([*registered, name])[name] == style for name, style in alone.items())
    together = assign([*registered, *variants])
    moved = [name for name, style in alone.items() if style != together[name]]
    assert len(moved) <= 4
    assert not any(":" in name for name in moved)
    assert not {"pep-fedpt+la", "fedvpt+la", "fedvpt+fedprox", "head+la"} & set(moved)


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


def test_a_blended_colour_has_that_share_of_the_other():
    assert blended("#CC6677", "#000000", 0) == "#cc6677"
    assert blended("#CC6677", "#ffffff", 0.5) == "#e6b2bb"  # 229.5, 178.5 and 187, rounded to even
    assert blended("#102030", "#ffffff", 1) == "#ffffff"
