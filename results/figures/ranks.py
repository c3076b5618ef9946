"""The critical-difference diagram: who ranks where over all settings, and what is not told apart."""

from itertools import combinations
from textwrap import fill

import numpy as np
import pandas as pd

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.style import WIDTHS, Plot, Styles, assign, highlighted, styled
from fedprompt.results.statistics.inference import least_p
from fedprompt.results.statistics.pairs import ALPHA
from fedprompt.results.statistics.ranks import Ranking, rank
from fedprompt.results.statistics.summary import finished

METRIC = "seen.mean"


@styled
def critical_difference(runs: pd.DataFrame, styles: Styles | None = None, columns: int = 2) -> Plot:
    """Average ranks of the methods over settings; a bar joins those that are not told apart at 5 %.

    Of the mean of the seen clients, over seeds; see `ranks.rank`. Methods that lack a setting are left out.
    """
    from scikit_posthocs import critical_difference_diagram  # which loads pyplot, that other figures do without

    done = finished(runs)
    if done["setting"].nunique() < 2 or done["method"].nunique() < 2:
        raise MissingDataError("average ranks need two methods in each of two settings or more")
    found, styles = rank(done, METRIC, np.random.default_rng(0)), styles or assign(runs["method"])
    ranks, one = found.ranks, columns == 1
    label = fill(_scale(found), 44 if one else 120)
    above = 0.3 + 0.13 * (1 + label.count("\n"))  # inches: ticks and label
    height = 0.7 + above + 0.145 * (len(ranks) if one else len(ranks) / 2)
    figure = Plot(figsize=(WIDTHS[columns], height))
    axis = figure.add_axes((0.3 if one else 0.17, 0.02, 0.66, 0.98 - above / height))
    coloured = highlighted(list(ranks.index))
    critical_difference_diagram(
        ranks, found.pairwise, ax=axis, alpha=ALPHA, left_only=one, label_props={"fontsize": 6.5},
        label_fmt_left="{label} {rank:.1f}", label_fmt_right="{rank:.1f} {label}",
        color_palette={name: styles[name].ink if name in coloured else "0.4" for name in ranks.index},
        crossbar_props={"linewidth": 2, "color": "0.25"}, elbow_props={"linewidth": 0.8}, marker_props={"s": 14},
    )  # fmt: skip
    axis.set_xlabel(label, fontsize=7)
    axis.xaxis.set_label_position("top")
    axis.grid(visible=False)
    figure.data = _listed(found)
    return figure


def _scale(found: Ranking) -> str:
    """What the ranks rest on, which a caption cannot know."""
    pairs = len(found.ranks) * (len(found.ranks) - 1) // 2
    blind = f"; {found.settings} settings cannot resolve any of {pairs} pairs" * (
        least_p(found.settings) * pairs > ALPHA
    )
    missing = f"; left out: {', '.join(found.left_out)}" * bool(found.left_out)
    return f"average rank (1 is best) over {found.settings} settings, Friedman p = {found.friedman:.2g}{blind}{missing}"


def _listed(found: Ranking) -> pd.DataFrame:
    ranks, p = found.ranks, found.pairwise
    rows = [(a, b, ranks[a], ranks[b], p.loc[a, b]) for a, b in combinations(ranks.index, 2)]
    return pd.DataFrame(rows, columns=["method", "other", "rank", "other_rank", "p_holm"])
