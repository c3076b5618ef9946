"""The throughput of a machine as a table and a picture."""

import os
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedprompt.benchmark.profiling.throughput import Throughput
from fedprompt.results.figures.style import COLOURS, MARKERS, styled


def table(found: Throughput) -> str:
    """Markdown: training by batch and cohort, beside the bare loops, and what is measured once."""
    kinds = list(dict.fromkeys(cell.kind for cell in found.cells))
    cohorts = list(dict.fromkeys(cell.cohort for cell in found.cells))
    rates = {(c.kind, c.batch, c.cohort): c for c in found.cells}
    heads = ["batch", "bare", "bare, all threads", "timm", *(f"{kind} x{n}" for kind in kinds for n in cohorts)]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for batch in found.bare:
        plain = [found.bare[batch], found.bare_all[batch], found.timm[batch]]
        cells = [f"{value:,.0f}" for value in plain]
        cells += [_cell(rates[kind, batch, n].rate, found.limit) for kind in kinds for n in cohorts]
        lines.append("| " + " | ".join([str(batch), *cells]) + " |")
    return "\n".join([_head(found), "", *lines, "", *_facts(found)]) + "\n"


def _cell(rate: float, limit: float) -> str:
    return f"{rate:,.0f} ({rate / limit:.2f})"


def _head(found: Throughput) -> str:
    where = f"{found.device}, {found.threads} processors, {found.environment['processor']}"
    return (
        f"FedVPT on {found.backbone}, {found.precision}, {where}: training images a second. In brackets the share of "
        f"the limit, which is the bare loop at its best batch and threads ({found.limit:,.0f}). xN: clients a round."
    )


def _facts(found: Throughput) -> list[str]:
    sequential, savings = found.ratios["sequential_to_bare"], found.ratios["savings_over_timm"]
    return [
        "- sequential over the bare loop, by batch: " + ", ".join(f"{b}: {r:.2f}" for b, r in sequential.items()),
        "- our layers over timm's own forward from the pixels on, by batch: "
        + ", ".join(f"{b}: {r:.2f}" for b, r in savings.items()),
        f"- evaluation {found.evaluation:,.0f}, {found.ratios['evaluation_to_bare']:.2f} of the bare forward pass",
        f"- rate of matrix products over the operations of an image: {found.bound:,.0f}",
    ]


@styled
def draw(found: Throughput, path: Path) -> None:
    """Writes the picture to `path`, in the format of its suffix, whole or not at all."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    kinds = list(dict.fromkeys(cell.kind for cell in found.cells))
    axes = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axis, kind in zip(axes, kinds, strict=True):
        _panel(axis, kind, found)
    axes[0].set_ylabel("training images a second")
    axes[0].set_ylim(0, 1.05 * max([found.limit, *(cell.rate for cell in found.cells)]))  # the panels share it
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(unfinished, format=path.suffix.lstrip("."))
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _panel(axis: Axes, kind: str, found: Throughput) -> None:
    batches = list(found.bare)
    axis.plot(batches, list(found.bare.values()), color="grey", linestyle=":", label="bare loop, one thread")
    axis.plot(batches, list(found.bare_all.values()), color="grey", linestyle="--", label="bare loop, all threads")
    for place, cohort in enumerate(dict.fromkeys(cell.cohort for cell in found.cells)):
        cells = [cell for cell in found.cells if cell.kind == kind and cell.cohort == cohort]
        look: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        axis.plot([c.batch for c in cells], [c.rate for c in cells], label=f"{cohort} a round", **look)
    axis.set_xscale("log", base=2)
    axis.set_xticks(batches, list(map(str, batches)))
    axis.set_xlabel(f"local batch, {kind}")
