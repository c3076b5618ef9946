"""Widths of figures on a page, by publication style."""

from typing import NamedTuple

from fedprompt.results.errors import RecordError, unknown


class Page(NamedTuple):
    """The room for a figure.

    Attributes:
        width: In inches. Figures are drawn at this width, so that fonts have their size in print.
        columns: How many panels of a narrow figure fit side by side, 1 or 2.
    """

    width: float
    columns: int

    def characters(self, share: float = 1) -> int:
        """How many characters of 7 points fit into a share of the width."""
        return int(16 * share * self.width)


DEFAULT = {1: 3.4, 2: 7.0}  # inches, for one and for two columns of a page
# One column and the whole width of the text in inches, as the LaTeX styles and instructions for authors state them.
STYLES = {
    "neurips": {1: 5.5, 2: 5.5},  # one column, 33 picas
    "icml": {1: 3.25, 2: 6.75},  # two columns that are 0.25 in apart
    "ieee": {1: 3.5, 2: 7.16},  # 21 and 43 picas
    "cvpr": {1: 3.25, 2: 6.875},  # 3 1/4 and 6 7/8 in
}
WIDE = 5  # inches of a figure with room for two columns of panels


def page_of(style: str | None, columns: int) -> Page:
    """The page of a style, by default of none in particular.

    Args:
        style: A key of `STYLES`. NeurIPS has one column: its figures have the whole width in any case.
        columns: Width of the figure in columns of the page, 1 or 2.

    Raises:
        RecordError: The style is unknown, or the page has not so many columns.
    """
    if style is not None and style not in STYLES:
        raise unknown("style", style, STYLES)
    if columns not in DEFAULT:
        raise RecordError(f"columns = {columns}: a page has one or two columns, so use 1 or 2")
    width = (DEFAULT if style is None else STYLES[style])[columns]
    return Page(width, 2 if width >= WIDE else 1)
