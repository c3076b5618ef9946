"""Critical-difference diagram: average ranks over settings, and the methods that do not differ significantly."""

from itertools import combinations
from textwrap import fill

import numpy as np
import pandas as pd

from fedprompt.results.errors import MissingDataError
from fedprompt.results.figures.method_styles import Styles, assign, highlighted
from fedprompt.results.figures.pages import page_of
from fedprompt.results.figures.parts.panels import brief
from fedprompt.results.figures.style import SEEN, SMALL, Plot, styled
from fedprompt.results.statistics.pairs import ALPHA, counted, untestable
from fedprompt.results.statistics.ranks import Ranking, rank
from fedprompt.results.statistics.summary import finished

MIN_SETTINGS = 5  # of three settings, ranks cannot tell any two methods apart


@styled
def critical_difference(
    runs: pd.DataFrame,
    styles: Styles | None = None,
    columns: int = 2,
    metric: str = SEEN,
    style: str | None = None,
) -> Plot:
    """Average ranks of the methods over settings; bars join methods that do not differ significantly at 5 %.

    Ranks are of the seen clients' mean accuracy or another `metric`, averaged over seeds; see `statistics.ranks.rank`.
    Methods without a run in some setting are omitted.

    Raises:
        MissingDataError: There are fewer than two methods, or fewer than five settings.
    """
    from scikit_posthocs import critical_difference_diagram  # slow: imports pyplot

    done = finished(runs)
    settings = done["setting"].nunique()
    if settings < MIN_SETTINGS or done["method"].nunique() < 2:
        raise MissingDataError(
            f"ranks over {counted(settings, 'setting')} separate no methods; they need two methods in each of "
            f"{MIN_SETTINGS} settings or more; see the figure pairwise"
        )
    ranking, styles = rank(done, metric, np.random.default_rng(0)), styles or assign(runs["method"])
    page = page_of(style, columns)
    narrow = page.columns == 1
    names = {name: brief(name, 24) for name in ranking.ranks.index}
    ranks, tests = ranking.ranks.rename(names), ranking.pairwise.rename(index=names, columns=names)
    beside = (0.062 * max(map(len, ranks.index)) + 0.5) / page.width  # the names and ranks, as a share of the width
    right = 1 - (0.1 / page.width if narrow else beside)
    label = fill(_label(ranking, metric), page.characters(right - beside))
    above = 0.3 + 0.13 * (1 + label.count("\n"))  # inches for ticks and label
    height = 0.7 + above + 0.145 * (len(ranks) if narrow else len(ranks) / 2)
    figure = Plot(figsize=(page.width, height))
    axis = figure.add_axes((beside, 0.02, right - beside, 0.98 - above / height))
    coloured = highlighted(list(names))
    inks = {names[name]: styles[name].ink if name in coloured else "0.4" for name in names}
    critical_difference_diagram(
        ranks, tests, ax=axis, alpha=ALPHA, left_only=narrow, label_props={"fontsize": SMALL}, color_palette=inks,
        label_fmt_left="{label} {rank:.1f}", label_fmt_right="{rank:.1f} {label}",
        crossbar_props={"linewidth": 2, "color": "0.25"}, elbow_props={"linewidth": 0.8}, marker_props={"s": 14},
    )  # fmt: skip
    axis.set_xlabel(label, fontsize=SMALL)
    axis.xaxis.set_label_position("top")
    axis.grid(visible=False)
    figure.data = _listed(ranking)
    return figure


def _label(ranking: Ranking, metric: str) -> str:
    """The axis label: the number of settings, the test, its limits and the omitted methods."""
    rank = "average rank (1 is best)" + f" of {metric}" * (metric != SEEN)
    label = f"{rank} over {ranking.settings} settings, Friedman p = {ranking.friedman:.2g}"
    if why := untestable(ranking.settings, "setting"):
        label += f"; {why}"
    if ranking.left_out:
        label += f"; omitted: {', '.join(ranking.left_out)}"
    return label


def _listed(ranking: Ranking) -> pd.DataFrame:
    ranks, p = ranking.ranks, ranking.pairwise
    rows = [(a, b, ranks[a], ranks[b], p.loc[a, b]) for a, b in combinations(ranks.index, 2)]
    return pd.DataFrame(rows, columns=["method", "other", "rank", "other_rank", "p_adjusted"])
