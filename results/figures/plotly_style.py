"""The looks of methods as names of Plotly, so that a report shows a method as figures do."""

from fedprompt.results.figures.method_styles import LINES, MARKERS, Style

SYMBOLS = dict(
    zip(
        MARKERS,
        (
            *("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x"),
            *("triangle-left", "triangle-right", "pentagon", "star"),
        ),
        strict=True,
    )
)
# One ending per line style, as `style.FILLS`: full, open and, as Plotly has no half-filled symbols, two with a dot.
FILLS = ("", "-open", "-open-dot", "-dot")


def plotly_dash(style: Style, width: float = 2) -> str:
    """The value of Plotly's `line.dash` for the line of a method.

    Args:
        style: The look of the method.
        width: The line's width in pixels, which the dashes are multiples of, as in Matplotlib.
    """
    if style.line == "-":
        return "solid"
    return ",".join(f"{length * width:g}px" for length in style.line[1])


def plotly_symbol(style: Style) -> str:
    """The value of Plotly's `marker.symbol` for the marker of a method.

    Of two methods with one marker, the fillings differ. The dot of a full symbol has the colour `marker.line.color`:
    set it to the background's colour.
    """
    return SYMBOLS[style.marker] + FILLS[LINES.index(style.line)]
