"""The comparison of frameworks as a table, and a check that all of them did the same job."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import fmean, median, stdev

OURS = "ours"
MEASURED = ("clients", "framework", "s per round", "s start-up", "s in total", "peak MB", "accuracy")
HEADER = (*MEASURED, "round", "total", "memory")
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


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Returns the cells, `HEADER` first. Over seeds: medians of seconds and bytes, mean and deviation of accuracy."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.clients, row.framework), []).append(row)
    cells: list[tuple[str, ...]] = [HEADER]
    for (clients, framework), group in groups.items():
        ours = groups.get((clients, OURS), [])
        accuracies, peak = [row.accuracy for row in group], _median(group, "peak_bytes")
        cells.append(
            (
                f"{clients:,}",
                framework,
                f"{_median(group, 'round_seconds'):.2f}",
                f"{_median(group, 'start_seconds'):.1f}",
                f"{_median(group, 'job_seconds'):.1f}",
                "" if peak is None else f"{peak / 1e6:,.0f}",
                f"{fmean(accuracies):.3f}" + (f" ± {stdev(accuracies):.3f}" if len(group) > 1 else ""),
                *(_ratio(group, ours, name) for name in ("round_seconds", "job_seconds", "peak_bytes")),
            )
        )
    return cells


def _median(rows: Sequence[Row], name: str) -> float | None:
    values = [getattr(row, name) for row in rows]
    return median(values) if values and None not in values else None


def _ratio(rows: Sequence[Row], ours: Sequence[Row], name: str) -> str:
    value, our_value = _median(rows, name), _median(ours, name)
    return f"{value / our_value:.1f}x" if value is not None and our_value else ""


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
            accuracy = f"accuracy {mean:.3f} with {clients} clients, ours {our_mean:.3f}"
            messages.append(f"{framework} did not do the same job: {accuracy}.")
    return messages
