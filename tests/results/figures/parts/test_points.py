import pandas as pd
from matplotlib.text import Text

from fedprompt.results.figures.method_styles import assign
from fedprompt.results.figures.parts.points import label, points
from fedprompt.results.figures.style import Plot

NAMES = [f"m{i:02d}" for i in range(12)]


def test_the_labels_of_coincident_points_do_not_overlap():
    figure = Plot(figsize=(3.4, 3))
    axis = figure.add_subplot()
    data = pd.DataFrame({"method": NAMES, "x": [0.0, *[1.0] * 11], "y": [0.0, *[1 + i / 1000 for i in range(11)]]})
    data = data.assign(below_majority=False, climbing=False)
    points(axis, data, NAMES, assign(NAMES))
    label(figure, [(axis, data)], NAMES, assign(NAMES))
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in axis.texts]  # without their lines
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
