import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.figures.pages import page_of


@pytest.mark.parametrize(
    ("style", "one", "two"),
    [
        (None, 3.4, 7.0),
        ("neurips", 5.5, 5.5),
        ("icml", 3.25, 6.75),
        ("ieee", 3.5, 7.16),
        ("cvpr", 3.25, 6.875),
    ],
)
def test_a_style_has_the_widths_of_its_column_and_its_text(style, one, two):
    assert (page_of(style, 1).width, page_of(style, 2).width) == (one, two)


def test_panels_are_side_by_side_where_the_figure_is_wide():
    assert [page_of("icml", columns).columns for columns in (1, 2)] == [1, 2]
    assert [page_of("neurips", columns).columns for columns in (1, 2)] == [2, 2]


@pytest.mark.parametrize("columns", [0, 3])
def test_a_page_has_one_or_two_columns(columns):
    with pytest.raises(RecordError, match=f"columns = {columns}: a page has one or two columns, so use 1 or 2"):
        page_of("icml", columns)


def test_an_unknown_style_is_refused_with_the_known_ones():
    with pytest.raises(RecordError, match=r"unknown style 'nips': .*available: cvpr, icml, ieee, neurips"):
        page_of("nips", 1)
