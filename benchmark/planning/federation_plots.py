"""Plots of a federation: classes per client, client sizes, and sample images."""

from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.dataset import DataSet
from fedprompt.data.errors import reason
from fedprompt.data.federation import Client, Federation
from fedprompt.data.files.atomic import atomic_write
from fedprompt.results.figures.style import styled

MAX_CLIENTS = 400  # in the class panel: more columns would be narrower than a pixel
MAX_LINES = 200  # in the class panel: more classes share lines, so that none falls between two pixels
SKEWED = 100  # times the median size: from here the largest client would flatten the others on a linear axis
NAMED = 20  # classes whose names, and clients whose ids and bars, have room
CLIENTS, IMAGES, SIDE = 6, 20, 48  # in the image panel: clients, images per client, and pixels per image


@styled
def draw(federation: Federation, dataset: DataSet, path: Path) -> None:
    """Writes a figure of three panels to `path`, atomically and in the format of its suffix.

    The panels show samples per client and class, client sizes, and training images of some clients (the largest, the
    smallest, and evenly spaced ones in between). The choice is deterministic.

    Raises:
        ConfigError: the format is unknown, or the file cannot be written.
    """
    figure = Figure(figsize=(9, 6), layout="constrained")
    kind = path.suffix.lstrip(".").lower() or "png"
    if kind not in (known := figure.canvas.get_supported_filetypes()):
        raise ConfigError(f"--out {path}: unknown image format .{kind}; available: {', '.join(sorted(known))}.")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.3, 1))
    order = np.argsort(-federation.counts.sum(axis=1), kind="stable")
    _classes(figure, figure.add_subplot(grid[0, 0]), federation)
    _sizes(figure.add_subplot(grid[0, 1]), federation, order)
    _images(figure.add_subplot(grid[1, :]), federation, dataset, order)
    figure.suptitle(f"{federation.dataset}, {federation.settings.label}, {len(federation.clients):,} clients")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, partial(figure.savefig, format=kind))
    except OSError as error:
        raise ConfigError(f"--out {path} cannot be written: {reason(error)}; name another file.") from error


def _classes(figure: Figure, axis: Axes, federation: Federation) -> None:
    count, classes = len(federation.clients), federation.classes
    ids = np.unique(np.linspace(0, count - 1, min(count, MAX_CLIENTS)).astype(int))
    ids = ids[np.argsort([federation.clients[i].held_out for i in ids], kind="stable")]
    per_line = -(-len(classes) // MAX_LINES)
    lines = np.add.reduceat(federation.counts[ids].T, np.arange(0, len(classes), per_line))
    counts = np.ma.masked_equal(lines, 0)
    image = axis.imshow(
        counts,
        norm=_norm(counts),
        cmap="viridis_r",
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, count - 0.5, -0.5, len(counts) * per_line - 0.5),
    )
    legend = figure.colorbar(image, ax=axis, label="training samples", ticks=LogLocator(subs=(1, 2, 5)), format="%d")
    legend.ax.minorticks_off()
    held_out = len(set(ids) & set(federation.held_out.tolist()))
    if held_out:
        axis.axvline((1 - held_out / len(ids)) * count - 0.5, color="black", linewidth=1)
    shown = f"{len(ids)} of {count:,} clients" if len(ids) < count else "client" if count <= NAMED else "clients"
    axis.set_xlabel(f"{shown}; held out: right of the line" if held_out else shown)
    if count <= NAMED:
        axis.set_xticks(range(count), map(str, ids))
    else:  # held-out clients were moved to the right, so ids would be out of order: the ticks count clients
        axis.xaxis.set_major_locator(_round_numbers())
    if len(classes) <= NAMED:
        axis.set_yticks(range(len(classes)), classes)
    else:
        axis.set_ylabel("class" if per_line == 1 else f"class, {per_line} per line")
        axis.yaxis.set_major_locator(_round_numbers())
    axis.grid(visible=False)


def _norm(counts: np.ma.MaskedArray) -> LogNorm:
    """Logarithmic colours over a factor of nine at least, so that nearly equal counts look equal."""
    low, high = float(counts.min()), float(counts.max())
    middle = (low * high) ** 0.5
    return LogNorm(max(1.0, min(low, middle / 3)), max(high, middle * 3))


def _sizes(axis: Axes, federation: Federation, order: np.ndarray) -> None:
    """Bars side by side or, for many clients, two step lines, each sorted by its own sizes."""
    parts = {"training": federation.counts.sum(axis=1)[order], "test": federation.test_counts.sum(axis=1)[order]}
    for left, (label, sizes) in zip((-0.4, 0.0), parts.items(), strict=True):
        if len(order) <= NAMED:
            axis.bar(np.arange(len(order)) + left, sizes, 0.4, align="edge", label=label)
        else:
            axis.stairs(-np.sort(-sizes), np.arange(len(order) + 1) - 0.5, baseline=None, label=label)
    axis.set_xlabel("clients, largest first")
    axis.set_ylabel("samples")
    if parts["training"].max() > SKEWED * np.median(parts["training"]):
        axis.set_yscale("symlog", linthresh=1)  # a test size may be 0
    axis.set_ylim(bottom=0)
    axis.xaxis.set_major_locator(_round_numbers())
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def _round_numbers() -> MaxNLocator:
    return MaxNLocator(integer=True, steps=[1, 2, 5, 10])


def _images(axis: Axes, federation: Federation, dataset: DataSet, order: np.ndarray) -> None:
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(len(order), CLIENTS)).astype(int))]
    sheet = np.full((len(chosen) * (SIDE + 4), IMAGES * (SIDE + 4), 3), 255, np.uint8)
    for row, client in enumerate(chosen):
        for column, position in enumerate(_spread(federation.clients[client])):
            top, left = row * (SIDE + 4), column * (SIDE + 4)
            sheet[top : top + SIDE, left : left + SIDE] = _thumbnail(dataset.train_x[position])
    axis.imshow(sheet, interpolation="nearest")
    axis.set_yticks((np.arange(len(chosen)) + 0.5) * (SIDE + 4), [_title(federation, i) for i in chosen])
    axis.tick_params(left=False)
    axis.set_xticks([])
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.set_xlabel("training images; client: number of images")


def _spread(client: Client) -> np.ndarray:
    positions = np.unique(np.linspace(0, len(client.train) - 1, min(len(client.train), IMAGES)).astype(int))
    return np.asarray(client.train[positions])


def _title(federation: Federation, client: int) -> str:
    domain = federation.clients[client].domain
    return f"{client}: {int(federation.counts[client].sum()):,}" + (f"\n{domain}" if domain else "")


def _thumbnail(image: np.ndarray) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
