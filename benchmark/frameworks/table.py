"""The comparison of frameworks as a table, and a check that all of them did the same job."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import fmean, median, stdev

OURS = "ours"
HEADER = (
    *("clients", "framework", "s per round", "s start-up", "s in total", "peak MB", "accuracy"),
    *("round", "total", "memory"),
)
"""Column titles; the last three columns are relative to ours."""


@dataclass(frozen=True)
class Row:
    """Measurements of one job in one framework.

    Attributes:
        round_seconds: Median round.
        start_seconds: Time before the first round, and what the first round took beyond a median one.
        job_seconds: From the start of the process to its end.
        peak_bytes, peak_rss_bytes: Peak memory of all processes; shared pages counted once, or in each process.
    """

    framework: str
    clients: int
    seed: int
    round_seconds: float
    start_seconds: float
    job_seconds: float
    peak_bytes: int | None
    peak_rss_bytes: int | None
    accuracy: float
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """One framework at one number of clients: medians of seconds and bytes over seeds, and each seed's accuracy."""

    framework: str
    clients: int
    round_seconds: float
    start_seconds: float
    job_seconds: float
    peak_bytes: float | None
    accuracies: tuple[float, ...]

    def cells(self, ours: "Summary | None") -> tuple[str, ...]:
        """Returns the texts of a table row, in the order of `HEADER`."""
        ratios: tuple[str, ...] = ("", "", "")
        if ours is not None:
            names = ("round_seconds", "job_seconds", "peak_bytes")
            ratios = tuple(_ratio(getattr(self, name), getattr(ours, name)) for name in names)
        spread = f" ± {stdev(self.accuracies):.3f}" if len(self.accuracies) > 1 else ""
        return (
            f"{self.clients:,}",
            self.framework,
            f"{self.round_seconds:.2f}",
            f"{self.start_seconds:.1f}",
            f"{self.job_seconds:.1f}",
            "" if self.peak_bytes is None else f"{self.peak_bytes / 1e6:,.0f}",
            f"{fmean(self.accuracies):.3f}{spread}",
            *ratios,
        )


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Aggregates rows over seeds, in the order in which frameworks and numbers of clients first appear."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.clients, row.framework), []).append(row)
    return [
        Summary(
            framework,
            clients,
            median(row.round_seconds for row in group),
            median(row.start_seconds for row in group),
            median(row.job_seconds for row in group),
            None if any(row.peak_bytes is None for row in group) else median(row.peak_bytes or 0 for row in group),
            tuple(row.accuracy for row in group),
        )
        for (clients, framework), group in groups.items()
    ]


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Returns the cells of the table, `HEADER` first."""
    summaries = summarise(rows)
    ours = {summary.clients: summary for summary in summaries if summary.framework == OURS}
    return [HEADER, *(summary.cells(ours.get(summary.clients)) for summary in summaries)]


def text(rows: Sequence[Row]) -> str:
    """Returns the table for a terminal."""
    cells = table(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells)


def markdown(rows: Sequence[Row]) -> str:
    """Returns the table in Markdown."""
    head, *body = (f"| {' | '.join(line)} |" for line in table(rows))
    return "\n".join([head, "|" + " ---: |" * len(HEADER), *body])


def disagreements(rows: Sequence[Row], tests: int) -> list[str]:
    """Returns a message for each framework whose accuracy differs from ours by more than three standard errors.

    The standard error of the mean paired difference is the larger of two estimates: from the seeds (batch order), and
    from the sampling of `tests` test images per client. One seed is not sufficient for either.
    """
    ours = {(row.clients, row.seed): row.accuracy for row in rows if row.framework == OURS}
    paired: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for row in rows:
        if row.framework != OURS and (row.clients, row.seed) in ours:
            paired.setdefault((row.clients, row.framework), []).append((row.accuracy, ours[row.clients, row.seed]))
    messages = []
    for (clients, framework), pairs in paired.items():
        if len(pairs) < 2:
            continue
        mean, our_mean = map(fmean, zip(*pairs, strict=True))
        between_seeds = stdev(a - b for a, b in pairs)
        sampling = sqrt(2 * our_mean * (1 - our_mean) / (clients * tests))
        if abs(mean - our_mean) > 3 * max(between_seeds, sampling) / sqrt(len(pairs)):
            messages.append(
                f"{framework} reaches an accuracy of {mean:.3f} with {clients} clients, ours {our_mean:.3f}: "
                "they did not do the same job."
            )
    return messages


def _ratio(value: float | None, ours: float | None) -> str:
    return f"{value / ours:.1f}x" if value is not None and ours else ""
