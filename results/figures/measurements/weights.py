"""Soft weights of class prompts by true class."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.pages import page_of
from fedprompt.results.figures.parts.panels import panels, wrapped
from fedprompt.results.figures.style import SMALL, Plot, styled

NAME = "mix_weights"
MANY = 6  # panels; more are small


@styled
def soft_weights(tables: dict[str, list[dict[str, Any]]], columns: int = 2, style: str | None = None) -> Plot:
    """Mean soft weight of each class's prompt by true class; one panel per method and setting.

    Means over the seen clients' test samples and over seeds. A diagonal means that the weights identify the class;
    equal rows mean that they do not depend on the image.

    Args:
        tables: The tables of `records.frames.tables`.
        columns: Width of the figure in columns of a page.
    """
    weights: dict[tuple[str, str], list[np.ndarray]] = {}
    for run in tables.get(NAME, []):
        weights.setdefault((run["method"], run["setting"]), []).append(np.array(run["values"], dtype=float))
    if not weights:
        raise MissingDataError("no record has by_class.mix_weights, the mean soft weights by true class")
    means = {names: np.ma.masked_invalid(np.stack(runs)).mean(axis=0).filled(np.nan) for names, runs in weights.items()}
    settings = {setting for _, setting in means}
    page = page_of(style, columns)
    across = (2 * page.columns - 1) if len(means) <= MANY else 2 * page.columns
    height = min(2.5, page.width / across + 0.35)
    figure, axes = panels([method for method, _ in means], "class prompt", "true class", page, height, across)
    for axis, ((method, setting), values) in zip(axes, means.items(), strict=True):
        if len(settings) > 1:
            axis.set_title(
                "\n".join(wrapped(name, page.characters(0.75 / across)) for name in (method, setting)), fontsize=SMALL
            )
        image = axis.imshow(values, vmin=0, vmax=1, cmap="Blues", origin="lower", interpolation="nearest")
        axis.grid(visible=False)
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_locator(MaxNLocator(5, integer=True))
    figure.set_layout_engine("compressed")  # no gaps between square panels
    figure.colorbar(image, ax=axes, label="mean soft weight", aspect=30, location="bottom")
    figure.data = pd.concat([_listed(names, values) for names, values in means.items()], ignore_index=True)
    return figure


def _listed(names: tuple[str, str], values: np.ndarray) -> pd.DataFrame:
    true, prompt = np.nonzero(~np.isnan(values))
    columns = {"true_class": true, "class_prompt": prompt, "weight": values[true, prompt]}
    return pd.DataFrame(columns).assign(method=names[0], setting=names[1])
