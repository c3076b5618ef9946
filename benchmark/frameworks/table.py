"""Measured rows of the comparison to a table, and the check that all contestants did the same job."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import fmean, median, stdev

OURS = "ours"
HEADER = ("clients", "peer", "s a round", "s before", "s the job", "peak MB", "accuracy", "round", "job", "memory")


@dataclass(frozen=True)
class Row:
    """One contestant on one job. Seconds: the median round, what came before rounds ran steadily, the whole process.

    Memory: the peak of all its processes, shared pages counted once (`peak_bytes`) or in each (`peak_rss_bytes`).
    """

    peer: str
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
class Line:
    """One contestant at one number of clients over its seeds: medians of seconds and bytes, mean accuracy."""

    peer: str
    clients: int
    round_seconds: float
    start_seconds: float
    job_seconds: float
    peak_bytes: float | None
    accuracies: tuple[float, ...]

    def cells(self, ours: "Line | None") -> tuple[str, ...]:
        """Texts by the columns of HEADER; the last three are multiples of ours."""
        multiples: tuple[str, ...] = ("", "", "")
        if ours is not None:
            names = ("round_seconds", "job_seconds", "peak_bytes")
            multiples = tuple(_multiple(getattr(self, name), getattr(ours, name)) for name in names)
        spread = f" ± {stdev(self.accuracies):.3f}" if len(self.accuracies) > 1 else ""
        return (
            f"{self.clients:,}",
            self.peer,
            f"{self.round_seconds:.2f}",
            f"{self.start_seconds:.1f}",
            f"{self.job_seconds:.1f}",
            "" if self.peak_bytes is None else f"{self.peak_bytes / 1e6:,.0f}",
            f"{fmean(self.accuracies):.3f}{spread}",
            *multiples,
        )


def lines(rows: Sequence[Row]) -> list[Line]:
    """Rows gathered over seeds, in the order in which peers and numbers of clients first appear."""
    groups: dict[tuple[int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.clients, row.peer), []).append(row)
    return [
        Line(
            peer,
            clients,
            median(row.round_seconds for row in group),
            median(row.start_seconds for row in group),
            median(row.job_seconds for row in group),
            None if any(row.peak_bytes is None for row in group) else median(row.peak_bytes or 0 for row in group),
            tuple(row.accuracy for row in group),
        )
        for (clients, peer), group in groups.items()
    ]


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table's cells, HEADER first."""
    gathered = lines(rows)
    ours = {line.clients: line for line in gathered if line.peer == OURS}
    return [HEADER, *(line.cells(ours.get(line.clients)) for line in gathered)]


def text(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    cells = table(rows)
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADER))]
    return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in cells)


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    head, *body = (f"| {' | '.join(line)} |" for line in table(rows))
    return "\n".join([head, "|" + " ---: |" * len(HEADER), *body])


def disagreements(rows: Sequence[Row], tests: int) -> list[str]:
    """A line for every contestant whose accuracy differs from ours by more than noise; empty: the same job.

    Noise is three times the standard error of the mean difference over the paired seeds, as batch order makes it and
    as the sampling of `tests` test images a client does. One seed proves nothing, and is not judged.
    """
    ours = {(row.clients, row.seed): row.accuracy for row in rows if row.peer == OURS}
    paired: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for row in rows:
        if row.peer != OURS and (row.clients, row.seed) in ours:
            paired.setdefault((row.clients, row.peer), []).append((row.accuracy, ours[row.clients, row.seed]))
    found = []
    for (clients, peer), pairs in paired.items():
        if len(pairs) < 2:
            continue
        theirs, own = map(fmean, zip(*pairs, strict=True))
        between = stdev(a - b for a, b in pairs)
        sampled = sqrt(2 * own * (1 - own) / (clients * tests))
        if abs(theirs - own) > 3 * max(between, sampled) / sqrt(len(pairs)):
            found.append(f"{peer} reaches {theirs:.3f} with {clients} clients, ours {own:.3f}: not the same job.")
    return found


def _multiple(value: float | None, ours: float | None) -> str:
    return f"{value / ours:.1f}x" if value is not None and ours else ""
