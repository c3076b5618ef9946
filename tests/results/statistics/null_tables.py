"""How often a table in which all methods are equal marks some method: `python -m tests.results.statistics.null_tables`.

The rule of `best.marks` (all pairs, max-T) beside tests against the method with the highest mean, which the table
itself selected: with the same max-T, and with Holm's correction over the column, as tables had it before.
"""

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from fedprompt.results.statistics.best import all_pairs
from fedprompt.results.statistics.inference import ENUMERATED, sign_flip
from fedprompt.results.statistics.multiple import max_t
from fedprompt.results.statistics.pairs import ALPHA

TABLES = 1_000
SIZES = [*((seeds, methods, 1) for seeds in (3, 6, 10) for methods in (12, 35)), (6, 12, 3), (6, 35, 3)]


def null_table(seeds, methods, settings, generator):
    """Scores of equal methods: the seed's clients shift all of them, and half of the methods vary twice as much."""
    index = pd.MultiIndex.from_product([[f"s{i}" for i in range(settings)], range(seeds)], names=["setting", "seed"])
    spreads = np.where(np.arange(methods) % 2, 2.0, 1.0)
    values = generator.normal(size=(len(index), 1)) + spreads * generator.normal(size=(len(index), methods))
    return pd.DataFrame(values, index, pd.Index([f"m{i}" for i in range(methods)], name="method"))


def all_pairs_mark_something(table, generator):
    return bool((all_pairs(table, generator)["p_adjusted"] <= ALPHA).any())  # some method is then behind another


def against_the_winner(table, generator, correct):
    """Whether some setting, or the mean over all, has a method that differs from the selected best of that column."""
    columns = [part.to_numpy() for _, part in table.groupby(level="setting")]
    if len(columns) > 1:
        columns.append(np.concatenate(columns))  # as tables had it: one pair per setting and seed
    for values in columns:
        best = values.mean(axis=0).argmax()
        if (correct(values[:, [best]] - np.delete(values, best, axis=1), generator) <= ALPHA).any():
            return True
    return False


def holm(gaps, generator):
    exact = len(gaps) <= ENUMERATED  # beyond, Student's t is as good and much faster
    p = [sign_flip(column) for column in gaps.T] if exact else ttest_1samp(gaps, 0).pvalue
    return len(p) * np.asarray(p)  # the smallest is Holm's: it decides whether anything is significant


RULES = {
    "all pairs, max-T": all_pairs_mark_something,
    "selected best, max-T": lambda table, generator: against_the_winner(table, generator, max_t),
    "selected best, Holm": lambda table, generator: against_the_winner(table, generator, holm),
}


def rates(seeds, methods, settings, tables=TABLES):
    """The share of null tables in which each rule marks something, by rule."""
    generator = np.random.default_rng([seeds, methods, settings])
    drawn = [null_table(seeds, methods, settings, generator) for _ in range(tables)]
    return {name: np.mean([rule(table, generator) for table in drawn]) for name, rule in RULES.items()}


if __name__ == "__main__":
    print("| seeds | methods | settings | " + " | ".join(RULES) + " |")
    print("| ---: " * (3 + len(RULES)) + "|")
    for size in SIZES:
        shown = [f"{100 * rate:.1f} %" for rate in rates(*size).values()]
        print("| " + " | ".join(map(str, [*size, *shown])) + " |", flush=True)
