from fedprompt.results.figures.style import Plot


def test_a_notebook_shows_a_figure_as_png_without_pyplot():
    figure = Plot(figsize=(3, 2))
    figure.add_subplot()
    picture = figure._repr_png_()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert picture[16:24] == (300).to_bytes(4, "big") + (200).to_bytes(4, "big")  # at 100 dots an inch
