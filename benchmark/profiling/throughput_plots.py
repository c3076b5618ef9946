"""The throughput of a machine as a Markdown table and a figure."""

from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedprompt.benchmark.profiling.throughput import Throughput
from fedprompt.data.files.atomic import atomic_write
from fedprompt.results.figures.method_styles import COLOURS, MARKERS
from fedprompt.results.figures.style import styled


def table(result: Throughput) -> str:
    """Returns a caption, a table of training rates by batch and cohort size, and the other measurements."""
    rates = {(c.kind, c.batch, c.cohort): c.rate for c in result.cells}
    kinds, cohorts = dict.fromkeys(c.kind for c in result.cells), dict.fromkeys(c.cohort for c in result.cells)
    columns = [(kind, cohort) for kind in kinds for cohort in cohorts]
    heads = ["batch", "bare loop", "all threads", "timm", *(f"{kind} x{cohort}" for kind, cohort in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for batch in result.bare:
        cells = [f"{rate:,.0f}" for rate in (result.bare[batch], result.bare_all[batch], result.timm[batch])]
        for kind, cohort in columns:
            rate = rates[kind, batch, cohort]
            cells.append(f"{rate:,.0f} ({rate / result.limit:.2f})")
        lines.append("| " + " | ".join([str(batch), *cells]) + " |")
    return "\n".join([_caption(result), "", *lines, "", *_notes(result)]) + "\n"


def _caption(result: Throughput) -> str:
    return (
        f"Training images per second: FedVPT on {result.backbone}, {result.precision}, {result.device}, "
        f"{result.threads} processors, {result.environment['processor']}. The bare loop is the same training in plain "
        "PyTorch, with one thread or all threads; timm: the same with timm's forward pass from pixels. xN: N clients "
        f"per round. In parentheses: the share of the fastest bare loop ({result.limit:,.0f})."
    )


def _notes(result: Throughput) -> list[str]:
    def by_batch(ratio: str) -> str:
        return ", ".join(f"{batch}: {value:.2f}" for batch, value in result.ratios[ratio].items())

    return [
        f"- sequential executor relative to the bare loop, by batch size: {by_batch('sequential_to_bare')}",
        f"- bare loop relative to timm's forward pass, by batch size: {by_batch('savings_over_timm')}",
        f"- evaluation: {result.evaluation:,.0f} images per second, "
        f"{result.ratios['evaluation_to_bare']:.2f} of a bare forward pass",
        f"- upper bound by the rate of matrix products: {result.bound:,.0f} training images per second",
    ]


@styled
def draw(result: Throughput, path: Path) -> None:
    """Writes the figure to `path` in the format of its suffix."""
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    kinds = list(dict.fromkeys(cell.kind for cell in result.cells))
    axes = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axis, kind in zip(axes, kinds, strict=True):
        _draw_panel(axis, kind, result)
    axes[0].set_ylabel("training images per second")
    axes[0].set_ylim(0, 1.05 * max([result.limit, *(cell.rate for cell in result.cells)]))  # the panels share the axis
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, partial(figure.savefig, format=path.suffix.lstrip(".")))


def _draw_panel(axis: Axes, kind: str, result: Throughput) -> None:
    batches = list(result.bare)
    axis.plot(batches, list(result.bare.values()), color="grey", linestyle=":", label="bare loop, one thread")
    axis.plot(batches, list(result.bare_all.values()), color="grey", linestyle="--", label="bare loop, all threads")
    for i, cohort in enumerate(dict.fromkeys(cell.cohort for cell in result.cells)):
        cells = [cell for cell in result.cells if cell.kind == kind and cell.cohort == cohort]
        colour, marker, label = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], f"{cohort} clients per round"
        axis.plot([c.batch for c in cells], [c.rate for c in cells], color=colour, marker=marker, label=label)
    axis.set_xscale("log", base=2)
    axis.set_xticks(batches, list(map(str, batches)))
    axis.set_xlabel(f"local batch size, {kind}")
