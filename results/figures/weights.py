"""What a method left per true class."""

from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.style import Plot, panels, styled

NAME = "mix_weights"
TITLE = 32  # characters that fit over a square panel


@styled
def soft_weights(tables: dict[str, list[dict[str, Any]]], columns: int = 2) -> Plot:
    """The mean soft weight of every class's prompt by the true class; one panel a method and setting.

    Of the seen clients' test samples, mean over seeds. A diagonal says that the weights know the class, equal rows that
    they do not look at the image.
    """
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for run in tables.get(NAME, []):
        found.setdefault((run["method"], run["setting"]), []).append(np.array(run["values"], dtype=float))
    if not found:
        raise MissingDataError("no record holds by_class.mix_weights, the mean soft weights by true class")
    means = {names: np.ma.masked_invalid(np.stack(kept)).mean(axis=0).filled(np.nan) for names, kept in found.items()}
    settings = {setting for _, setting in means}
    figure, axes = panels([method for method, _ in means], "class prompt", "true class", columns, 2.5, 2 * columns - 1)
    for axis, ((method, setting), values) in zip(axes, means.items(), strict=True):
        if len(settings) > 1:
            axis.set_title("\n".join(fill(name, TITLE, break_long_words=False) for name in (method, setting)))
        image = axis.imshow(values, vmin=0, vmax=1, cmap="viridis_r", origin="lower", interpolation="nearest")
        axis.grid(visible=False)
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_locator(MaxNLocator(5, integer=True))
    figure.set_layout_engine("compressed")  # square panels would leave wide gaps
    figure.colorbar(image, ax=axes, label="mean soft weight", aspect=30)
    figure.data = pd.concat([_listed(names, values) for names, values in means.items()], ignore_index=True)
    return figure


def _listed(names: tuple[str, str], values: np.ndarray) -> pd.DataFrame:
    true, prompt = np.nonzero(~np.isnan(values))
    columns = {"true_class": true, "class_prompt": prompt, "weight": values[true, prompt]}
    return pd.DataFrame(columns).assign(method=names[0], setting=names[1])
