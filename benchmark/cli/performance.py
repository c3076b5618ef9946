"""`bench perf`: what this machine does, beside its own limit."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.errors import ConfigError

CLASSES = 10  # of the made images
What = Literal["throughput", "cache", "scale", "sweep"]


def perf(
    what: Annotated[
        What,
        typer.Option(help="over batches and cohorts; what caches save; many clients; short runs"),
    ] = "throughput",
    backbone: Annotated[str, typer.Option(help="the embedded ViT, or any plain ViT of timm")] = EMBEDDED,
    checkpoint: Annotated[str, typer.Option(help="weights file; speed does not depend on them")] = "random",
    image_size: Annotated[int | None, typer.Option(min=8, help="side of the images")] = None,
    patch_size: Annotated[int | None, typer.Option(min=1, help="patch size")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="of the frozen blocks")] = "fp32",
    batches: Annotated[str, typer.Option(help="local batch sizes")] = "8,16,32,64,128",
    cohorts: Annotated[str, typer.Option(help="clients a round")] = "1,4,10,32",
    clients: Annotated[str, typer.Option(help="clients in all, for scale")] = "100,1000,10000",
    repeats: Annotated[int, typer.Option(min=1, help="measurements of each")] = 3,
    save: Annotated[Path | None, typer.Option(help="folder for the JSON, the table and the picture")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> None:
    """Images a second of training and evaluation, sequential, threaded and fused, beside a bare loop's.

    `--what cache`: a head-only run of 60 rounds with and without kept activations. `--what scale`: a round among more
    and more clients, and its memory. `--what sweep`: what 60 short runs lose to anything but the runs.
    """
    if what == "throughput":
        sizes = _numbers("batches", batches), _numbers("cohorts", cohorts)
        _throughput(backbone, checkpoint, (image_size, patch_size), device, precision, sizes, repeats, save, as_json)
        return
    counts = _numbers("clients", clients)
    answer, text = {"cache": _cache, "scale": lambda: _scale(counts), "sweep": _sweep}[what]()
    _give(answer, text, what, save, as_json)


def _cache() -> tuple[Any, str]:
    from fedprompt.benchmark.profiling.whole_runs import cache_gain

    gain = cache_gain()
    first, following = gain.forgetful / gain.first, gain.forgetful / gain.next
    return dataclasses.asdict(gain), (
        f"{gain.method}, {gain.rounds} rounds: {gain.forgetful:.2f} s without caches; {gain.first:.2f} s filling "
        f"them, {first:.1f} times faster; {gain.next:.2f} s on filled ones, {following:.1f} times"
    )


def _scale(clients: list[int]) -> tuple[Any, str]:
    from fedprompt.benchmark.profiling.whole_runs import scale

    rows = scale(("fedvpt", "fedper"), clients)
    lines = [
        f"{row.method:<8} {row.clients:>7,} clients: {row.round_seconds:.3f} s a round, {row.peak_mb:,.0f} MB; "
        f"{row.own_bytes:,} bytes a client; all scored in {row.score_seconds:.2f} s"
        for row in rows
    ]
    return [dataclasses.asdict(row) for row in rows], "\n".join(lines)


def _sweep() -> tuple[Any, str]:
    from fedprompt.benchmark.profiling.whole_runs import sweep_loss

    loss = sweep_loss()
    return dataclasses.asdict(loss), (
        f"{loss.runs} short runs, {loss.workers} workers: {loss.lost:.1%} of a worker's time, from its second run on, "
        f"is no run's; {loss.wall:.1f} s in all, {loss.inside / loss.workers:.1f} s of runs a worker"
    )


def _throughput(
    backbone: str,
    checkpoint: str,
    sizes: tuple[int | None, int | None],
    device: str,
    precision: Literal["fp32", "bf16"],
    grid: tuple[list[int], list[int]],
    repeats: int,
    save: Path | None,
    as_json: bool,
) -> None:
    import torch

    from fedprompt.benchmark.backbone.loading import load
    from fedprompt.benchmark.profiling.throughput import measure
    from fedprompt.benchmark.profiling.throughput_plots import draw, table

    if device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: torch finds no CUDA device here; use --device cpu.")
    found = measure(load(backbone, CLASSES, checkpoint, *sizes, device, precision), *grid, repeats)
    name = f"{backbone}-{found.device}-{precision}"
    _give(found.as_json(), table(found).rstrip(), name, save, as_json)
    if save is not None:
        draw(found, save / f"{name}.png")


def _numbers(option: str, words: str) -> list[int]:
    """Distinct whole numbers from 1 on. Raises `ConfigError` for anything else."""
    try:
        numbers = [int(word) for word in words.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise ConfigError(f"--{option} {words}: need whole numbers from 1 on, as in 8,16,32.")
    return list(dict.fromkeys(numbers))


def _give(answer: Any, text: str, name: str, save: Path | None, as_json: bool) -> None:
    print(json.dumps(answer, indent=1) if as_json else text)
    if save is not None:
        try:
            save.mkdir(parents=True, exist_ok=True)
            (save / f"{name}.json").write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
            (save / f"{name}.md").write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--save {save} cannot be written: {error.strerror}; name another folder.") from error
