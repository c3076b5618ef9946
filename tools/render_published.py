"""Render `results/published/NAME/README.md` from `README.md.j2` beside it, with the numbers of the folder's tables.

    python tools/render_published.py [NAME...]

It also writes `croissant.json`, the metadata of the folder's parquet files; the date of publication stays as it is.

Without names, all folders with a template, and the project's README, which has the numbers of `embedded-default`. In a
template `n` is the folder's `Numbers`, `published(NAME)` those of another folder, and `registered` what this version
has: accuracies are in percent, differences in points. The filters `one`, `whole`, `signed`, `interval` write numbers.
"""

import datetime
import re
import sys
import textwrap
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from fedprompt.data import registry as datasets
from fedprompt.methods import registry
from fedprompt.results import clients, load, rounds
from fedprompt.results.claims import verification
from fedprompt.results.errors import RecordError, check_known
from fedprompt.results.io import atomic_write, read_json
from fedprompt.results.records import croissant
from fedprompt.results.statistics import convergence, inference, pairs, summary
from fedprompt.results.tables.leaderboard import with_prior

PUBLISHED = Path(__file__).resolve().parent.parent / "results" / "published"
TEMPLATE = "README.md.j2"
PROJECT, MAIN = "README", "embedded-default"  # the project's README, and the folder whose numbers it has
WIDTH = 125


class Difference(NamedTuple):
    """A mean paired difference, its bootstrap interval, its p as the only comparison, and its number of pairs."""

    value: float
    low: float
    high: float
    p: float
    n: int


class Numbers:
    """The numbers of one published folder. `METHOD+prior` has the scores of prior-corrected logits.

    `alpha` and `seed` select runs; without `alpha`, a mean is the mean over settings. Every function raises RecordError
    for an unknown method, metric, alpha or seed, and if no finished run is left.
    """

    def __init__(self, folder: Path, runs: pd.DataFrame | None = None) -> None:
        self.folder = folder
        self.runs = load(folder / "runs.parquet") if runs is None else runs
        self._all = with_prior(self.runs)
        self.methods = sorted(set(self.runs["method"]))
        self.alphas = sorted(set(self.runs["alpha"].dropna()))
        self.seeds = sorted(set(self.runs["seed"]))

    @property
    def coverage(self) -> str:
        """The highest coverage, in percent, of an interval over the folder's seeds."""
        return f"{100 * inference.reached(len(self.seeds)):.3g}"

    def where(self, column: str, value: str) -> "Numbers":
        """The numbers of the runs with this value, as text, in a column of runs.parquet."""
        check_known("column", [column], set(self.runs))
        values = self.runs[column].dropna().astype(str)
        check_known(column, [value], sorted(set(values)))
        return Numbers(self.folder, self.runs.loc[values.index[values == value]])

    def part(self, name: str) -> "Numbers":
        """The numbers of the runs in a folder of this folder."""
        return Numbers(self.folder / name)

    @cached_property
    def _clients(self) -> pd.DataFrame:
        return clients(self.folder)

    def has(self, name: str) -> bool:
        """Whether the folder has a table (`rounds`, `clients`) or its runs a value of a metric."""
        if name in ("rounds", "clients"):
            return (self.folder / f"{name}.parquet").is_file()
        return name in self.runs and bool(self.runs[name].notna().any())

    def mean(
        self, method: str, metric: str = "seen.mean", alpha: float | None = None, seed: int | None = None
    ) -> float:
        """The mean over settings of the means over seeds."""
        return float(self.means([method], metric, alpha, seed)[method])

    def means(
        self, methods: Sequence[str], metric: str = "seen.mean", alpha: float | None = None, seed: int | None = None
    ) -> "pd.Series[float]":
        """`mean` of several methods, by method."""
        found = {}
        for method in methods:
            rows = summary.finished(_selected(self._all, method, alpha, seed))
            pairs.check_metrics(rows, [metric])
            found[method] = _scale(metric) * rows.groupby("setting")[metric].mean().mean()
        return pd.Series(found)

    def gaps(
        self, a: str, b: str, metric: str = "seen.mean", alpha: float | None = None, seed: int | None = None
    ) -> "pd.Series[float]":
        """a minus b, one value per pair (setting, seed)."""
        rows = pd.concat([_selected(self._all, method, alpha, seed) for method in dict.fromkeys((a, b))])
        both = pairs.paired(rows, metric)
        gaps = (_scale(metric) * (both[a] - both[b])).dropna().round(9)  # equal values may differ by rounding
        if gaps.empty:
            raise RecordError(f"{a} and {b} share no setting and seed with a value of {metric}")
        return gaps

    def difference(self, a: str, b: str, metric: str = "seen.mean", alpha: float | None = None) -> Difference:
        """The mean paired difference a - b with its interval, its p as the only comparison, and the pairs `n`."""
        rows = pd.concat([_selected(self._all, method, alpha, None) for method in (a, b)])
        found = pairs.differences(rows, metric, b, np.random.default_rng(0), [a])
        whole = found[found["setting"] == pairs.ALL_SETTINGS] if rows["setting"].nunique() > 1 else found
        row = whole.iloc[0]
        value, low, high = (_scale(metric) * row[name] for name in ("value", "low", "high"))
        return Difference(value, low, high, row["p"], row["n"])

    def differences(self, reference: str, metric: str = "seen.mean") -> dict[str, Difference]:
        """All other methods minus the reference, over all settings, the largest difference first."""
        found = {name: self.difference(name, reference, metric) for name in self.methods if name != reference}
        return dict(sorted(found.items(), key=lambda item: -item[1].value))

    def verdicts(self) -> list[verification.Finding]:
        """What `bench verify` finds for every claim of a paper."""
        return verification.verify(self.runs, verification.read(), np.random.default_rng(0))

    def against(self, reference: str, metric: str = "seen.mean") -> "pd.Series[float]":
        """The p of all methods minus the reference over all settings, adjusted as `bench table --reference` does."""
        rows = pairs.differences(self.runs, metric, reference, np.random.default_rng(0))
        overall = pairs.ALL_SETTINGS if self.runs["setting"].nunique() > 1 else self.runs["setting"].iloc[0]
        return rows[rows["setting"] == overall].set_index("method")["p_adjusted"]

    def share(self, a: str, b: str, metric: str = "seen.mean", alpha: float | None = None) -> float:
        """The percentage of pairs in which a has the higher value; ties count half."""
        gaps = self.gaps(a, b, metric, alpha)
        return 100 * float(((gaps > 0) + (gaps == 0) / 2).mean())

    def table(
        self, metrics: Sequence[str], methods: Sequence[str] | None = None, alphas: Sequence[float | None] = (None,)
    ) -> str:
        """Means as a Markdown table: one row per method, best first; one column per metric and alpha."""
        methods = list(methods or summary.ranking(summary.finished(self.runs), metrics[0]))
        columns = [(metric, alpha) for alpha in alphas for metric in metrics]
        heads = [metric if alpha is None else f"{metric}, alpha {alpha:g}" for metric, alpha in columns]
        check_known("method", methods, set(self._all["method"]))
        means = pd.concat([self._column(methods, *column) for column in columns], axis=1, keys=heads)
        means = means.sort_values(heads[0], ascending=pairs.lower_is_better(metrics[0]), kind="stable")
        lines = [f"| method | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
        for method, values in means.iterrows():
            lines.append(
                f"| {method} | {' | '.join('n/a' if np.isnan(value) else f'{value:.1f}' for value in values)} |"
            )
        return "\n".join(lines)

    def distances(self, folder: str, number: int) -> pd.DataFrame:
        """How far the methods of this folder are from their score after more than `number` rounds, in points.

        The longer runs, and more evaluations of the short ones, are in the folder `folder` of this folder.
        Columns: alpha, method, score, final, distance, one_round and seeds, as `convergence.distances` defines them.
        """
        found = convergence.distances(pd.concat([rounds(self.folder), rounds(self.folder / folder)]), number)
        numbers = ["score", "final", "distance", "one_round"]
        return found.assign(**{name: 100 * found[name] for name in numbers})

    def below(self, methods: Sequence[str], floor: str, metric: str, alpha: float) -> list[str]:
        """Those of the methods whose mean is lower than that of `floor`, in the order of their names."""
        means = self.means(methods, metric, alpha)
        return sorted(means.index[means < self.mean(floor, metric, alpha)])

    def client_mean(self, method: str, column: str, alpha: float) -> float:
        """The mean of a column of clients.parquet over the seen clients of all seeds, in percent."""
        rows = self.per_client(method, alpha)
        return 100 * float(rows.loc[~rows["held_out"], column].mean())

    def _column(self, methods: Sequence[str], metric: str, alpha: float | None) -> "pd.Series[float]":
        """`means` of those of the methods that were run at this alpha."""
        there = self._all if alpha is None else self._all[self._all["alpha"] == alpha]
        return self.means([name for name in methods if name in set(there["method"])], metric, alpha)

    def per_client(self, method: str, alpha: float | None = None, seed: int | None = None) -> pd.DataFrame:
        """The rows of clients.parquet of a method."""
        return _selected(self._clients, method, alpha, seed)


def _selected(rows: pd.DataFrame, method: str, alpha: float | None, seed: int | None) -> pd.DataFrame:
    check_known("method", [method], set(rows["method"]))
    rows = rows[rows["method"] == method]
    for name, value in (("alpha", alpha), ("seed", seed)):
        if value is not None:
            known = sorted(set(rows[name]))
            if value not in known:
                raise RecordError(f"{method} has no runs with {name} {value}: available: {', '.join(map(str, known))}")
            rows = rows[rows[name] == value]
    return rows


def _scale(metric: str) -> int:
    """100 for shares, which a README states in percent."""
    return 100 if pairs.is_accuracy(metric) or metric == "never_trained" else 1


class Registered:
    """What this version registers, for the project's README."""

    def methods(self) -> str:
        """A Markdown table of the methods by family, each a link to its paper if its address is known."""
        registry.discover()
        families: dict[str, list[str]] = {}
        for name, cls in sorted(registry.METHODS.items()):
            families.setdefault(cls.family, []).append(f"[{name}]({cls.url})" if cls.url else name)
        rows = [f"| {family} | {', '.join(names)} |" for family, names in sorted(families.items())]
        return "\n".join(["| family | methods |", "| --- | --- |", *rows])

    def datasets(self) -> str:
        """A Markdown table of the data sets with their sizes."""
        named: dict[tuple[int | None, ...], list[str]] = {}
        for entry in datasets.entries():
            if ":" not in entry.name:  # others are formats, whose sizes are those of your files
                counts = (entry.classes, entry.train, entry.test, entry.domains)
                named.setdefault(counts, []).append(f"`{entry.name}`")
        head = [
            "| data set | classes | training images | test images | domains |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        rows = [[", ".join(names), *("" if n is None else f"{n:,}" for n in sizes)] for sizes, names in named.items()]
        return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])

    @property
    def gpu_checked(self) -> bool:
        """Whether `bench gpu-check` has been run on a GPU and its results are published."""
        return (PUBLISHED / "gpu" / "gpu-check.json").is_file()


def render(folder: Path, template: Path | None = None) -> str:
    """A README with the numbers of a published folder.

    Args:
        folder: The published folder.
        template: The README's template; None: that of the folder.

    Raises:
        RecordError: The template and the tables do not fit each other.
    """
    template = template or folder / TEMPLATE
    environment = Environment(
        loader=FileSystemLoader([template.parent, PUBLISHED]),  # PUBLISHED has the macros that studies share
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "one": lambda value: f"{value:z.1f}",  # z: 0.0 in place of -0.0
        "whole": lambda value: f"{value:z.0f}",
        "signed": lambda value: f"{value:+z.1f}",
        "interval": lambda difference: f"{difference.low:z.1f} to {difference.high:z.1f}",
    }
    try:
        values = {"n": Numbers(folder), "published": lambda name: Numbers(PUBLISHED / name), "registered": Registered()}
        return wrapped(environment.get_template(template.name).render(values))
    except TemplateError as error:
        raise RecordError(f"{template}: {error}") from error


def metadata(folder: Path) -> str:
    """The croissant.json of a published folder, with the date of the present one, or of today if there is none."""
    place = folder / "croissant.json"
    date = datetime.date.fromisoformat(read_json(place)["datePublished"]) if place.is_file() else None
    there = [name for name in croissant.TITLES if (folder / f"{name}.parquet").is_file()]
    tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in there}
    return croissant.as_text(croissant.metadata(folder, tables, date, croissant.published_terms()))


def wrapped(text: str) -> str:
    """Markdown with its paragraphs, list items and quotes filled to the width; all other lines as they are."""
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        plain = fenced or not line or line.startswith(("#", "|", "!", "```", "<"))
        fenced ^= line.startswith("```")
        above = lines[-1] if lines else ""
        starts = plain or not above or line.startswith("- ") or above.startswith(("#", "|", "!", "```", "<"))
        if starts:
            lines.append(line)
        else:
            lines[-1] = f"{above.rstrip()} {line.removeprefix('> ').strip()}"
    fenced = False
    for place, line in enumerate(lines):
        fenced ^= line.startswith("```")
        if not fenced and len(line) > WIDTH and not line.startswith(("#", "|", "!", "<")):
            lines[place] = _filled(line)
    return "\n".join(lines) + "\n"


def _filled(line: str) -> str:
    indent = {"- ": "  ", "> ": "> "}.get(line[:2], "")
    whole = re.sub(
        r"`[^`]+`|\[[^\]]*\]\([^)]*\)", lambda span: span[0].replace(" ", "\0"), line
    )  # spans stay on a line
    words = textwrap.TextWrapper(WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return words.fill(whole).replace("\0", " ")


def main(names: Sequence[str]) -> int:
    """Renders the folders of these names, or all; returns 2 with a message if one cannot be rendered."""
    templates = {path.parent.name: path for path in sorted(PUBLISHED.glob(f"*/{TEMPLATE}"))}
    if (project := PUBLISHED.parent.parent / TEMPLATE).is_file():
        templates[PROJECT] = project
    try:
        check_known("folder with a template", names, templates)
        for name in names or templates:
            if name != PROJECT:
                atomic_write(PUBLISHED / name / "croissant.json", metadata(PUBLISHED / name))
            readme = templates[name].with_name("README.md")
            atomic_write(readme, render(PUBLISHED / (MAIN if name == PROJECT else name), templates[name]))
            print(readme)
    except RecordError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
