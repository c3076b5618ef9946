"""How methods look in figures and in the report: colour, marker and line. It needs no plotting library."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import adler32

CROWD = 10  # with more methods than this, bands and legends hide the lines
BEST = 6  # methods that a crowded figure draws in colour, besides `SOUGHT`
SOUGHT = ("pep-fedpt", "fedvpt")
FAINT = "#b8b8b8"
# Methods by the index of their style. Add new methods at the end: the others keep their look.
PLACES = {
    name: place
    for place, name in enumerate(
        (
            *("pep-fedpt", "fedvpt", "head", "sgpt", "pfedpg", "fedvpt-deep", "local", "fedncm", "fed3r", "fedcof"),
            *("fedper", "fedrep", "fedbabu", "fedl2p", "fedpr", "pfpt", "pfedpt", "pvpt", "fedvpt-ft", "fedlora"),
            *("ffa-lora", "flexlora", "fedsa-lora", "fedadapter", "fedbias", "ditto", "apfl", "pfedme", "fedrod"),
            *("knn-per", "fedproto", "fedpac", "majority", "posterior", "fedmgp", "fedntd", "moon", "fedthe"),
            *("fedex-lora", "lora-fair", "fedalt", "lda", "pfedfda"),
        )
    )
}
# P. Tol's "muted" colours and black, which colour-blind readers can distinguish; line and marker work in grey as well.
COLOURS = ("#332288", "#CC6677", "#117733", "#DDAA33", "#882255", "#44AA99", "#000000", "#AA4499", "#88CCEE", "#999933")
LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
# One filling per line style, so that markers differ where no line is drawn.
FILLS: tuple[dict[str, Any], ...] = (
    {},
    {"markerfacecolor": "white"},
    {"fillstyle": "left", "markerfacecoloralt": "white"},
    {"fillstyle": "bottom", "markerfacecoloralt": "white"},
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
PAIRS = len(MARKERS) * len(LINES)  # all are distinct: the numbers share no divisor


class Style(NamedTuple):
    """Colour, marker and line of a method."""

    colour: str
    marker: str
    line: Any

    @property
    def ink(self) -> str:
        """The colour, darkened for text on white."""
        return blended(self.colour, "#000000", 0.28)

    @property
    def faint(self) -> "Style":
        """The same marker in light grey."""
        return self._replace(colour=FAINT, line="-")

    def keywords(self, lines: bool = True) -> dict[str, Any]:
        """Keywords of `Axes.plot`, with or without the line between the markers."""
        look = {"color": self.colour, "marker": self.marker, "linestyle": self.line if lines else ""}
        return look | FILLS[LINES.index(self.line)]


Styles = Mapping[str, Style]


def assign(methods: Iterable[str]) -> dict[str, Style]:
    """A style for every method, which depends on its name: it is the same in all figures.

    Methods of `PLACES` have fixed styles. Any other name is hashed to a style that none of `PLACES` has, whether they
    are among `methods` or not, and moves to the next one only where another hashed name of `methods` has it. A variant
    has the colour of its method. Up to 440 methods differ in colour, marker or line.
    """
    styles: dict[str, Style] = {}
    taken = set(RESERVED)
    for name in sorted(set(methods), key=lambda name: ("+" in name, name)):
        if name in PLACES:
            styles[name] = fixed(PLACES[name])
        else:
            styles[name] = next((style for style in _hashed(name) if style not in taken), next(_hashed(name)))
            taken.add(styles[name])
    return styles


def fixed(place: int) -> Style:
    """The style of a place of `PLACES`.

    Any two differ in marker or line, and in marker or colour; the first 40 also in line or colour.
    """
    return _style(place + place // 20, place)


def _hashed(name: str) -> Iterator[Style]:
    """The styles for a name without a place, in order of preference."""
    root = re.split(r"[:+ ]", name)[0]
    colour = COLOURS.index(fixed(PLACES[root]).colour) if root in PLACES else adler32(root.encode())
    pair = adler32(name.encode())  # a checksum that gives similar names, such as m1 and m2, different styles
    return (_style(colour + i, pair + j) for i in range(len(COLOURS)) for j in range(PAIRS))


def _style(colour: int, pair: int) -> Style:
    return Style(COLOURS[colour % len(COLOURS)], MARKERS[pair % len(MARKERS)], LINES[pair % len(LINES)])


RESERVED = {fixed(place) for place in PLACES.values()}


def blended(colour: str, other: str, share: float) -> str:
    """A colour of which a share is another, both as #rrggbb."""
    pairs = zip(*(bytes.fromhex(name.removeprefix("#")) for name in (colour, other)), strict=True)
    return "#" + bytes(round((1 - share) * a + share * b) for a, b in pairs).hex()


def highlighted(methods: Sequence[str]) -> list[str]:
    """The ranked methods to draw in colour: all of a few; of many the `BEST` and those of `SOUGHT`."""
    if len(methods) <= CROWD:
        return list(methods)
    return [name for i, name in enumerate(methods) if i < BEST or name in SOUGHT]
