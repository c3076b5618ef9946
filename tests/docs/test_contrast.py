"""The words of the site's header and tabs, and its links, have the contrast of WCAG 2.2, level AA (1.4.3)."""

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

AA = 4.5
WHITE = "#ffffff"


def channels(colour):
    """Red, green, blue and opacity of #rrggbb or #rrggbbaa, from 0 to 1."""
    values = [int(colour[i : i + 2], 16) / 255 for i in range(1, len(colour), 2)]
    return (*values, 1.0)[:4]


def over(colour, background, opacity=1.0):
    """A translucent colour on an opaque one."""
    front, back = channels(colour), channels(background)
    share = front[3] * opacity
    mixed = (share * a + (1 - share) * b for a, b in zip(front[:3], back[:3], strict=True))
    return "#" + "".join(f"{round(255 * value):02x}" for value in mixed)


def luminance(colour):
    """Relative luminance as WCAG defines it."""
    linear = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in channels(colour)[:3])
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    """Contrast ratio of two opaque colours, from 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.fixture(scope="module")
def colours():
    """The theme's variables for this site's palette, as the site's own style sheet changes them."""
    material = pytest.importorskip("material", reason="the theme of the site is not installed")
    folder = Path(material.__file__).parent / "templates" / "assets" / "stylesheets"
    sheets = [*sorted(folder.glob("palette.*.css")), ROOT / "docs" / "site.css"]
    found = {}
    for sheet in sheets:
        for block in re.findall(r'\[data-md-color-primary="?teal"?\]\s*\{([^}]*)\}', sheet.read_text(encoding="utf-8")):
            found |= dict(re.findall(r"(--md-[\w-]+):\s*(#[0-9a-f]+)", block))
    return {name: value if len(value) > 4 else "#" + "".join(2 * c for c in value[1:]) for name, value in found.items()}


def test_contrasts_are_those_of_known_pairs():
    assert contrast("#000000", WHITE) == pytest.approx(21)
    assert contrast("#777777", WHITE) == pytest.approx(4.48, abs=0.005)
    assert over("#ffffff80", "#000000") == "#808080"


def test_the_colour_of_the_theme_alone_would_be_too_light():
    assert contrast("#009485", WHITE) < AA


@pytest.mark.parametrize("opacity", [1.0, 0.7], ids=["title and open tab", "other tabs"])
def test_words_in_the_header_are_readable(colours, opacity):
    header = colours["--md-primary-fg-color"]
    assert contrast(over(colours["--md-primary-bg-color"], header, opacity), header) >= AA


@pytest.mark.parametrize("shade", ["#00000042", "#ffffff1f"], ids=["search", "search under the pointer"])
def test_the_words_in_the_search_field_are_readable(colours, shade):
    field = over(shade, colours["--md-primary-fg-color"])
    assert contrast(over(colours["--md-primary-bg-color--light"], field), field) >= AA


def test_links_are_readable_on_a_light_page(colours):
    assert contrast(colours["--md-primary-fg-color"], WHITE) >= AA
