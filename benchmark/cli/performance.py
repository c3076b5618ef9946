"""`bench perf` and `bench gpu-check`."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.cli.common_options import Json
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import reason

CLASSES = 10  # of the generated images
What = Literal["throughput", "cache", "scale", "sweep"]


def perf(
    what: Annotated[What, typer.Option(help="what to measure, see above")] = "throughput",
    backbone: Annotated[str, typer.Option(help="the embedded ViT, or any plain ViT of timm")] = EMBEDDED,
    checkpoint: Annotated[str, typer.Option(help="weights file; the speed does not depend on it")] = "random",
    image_size: Annotated[int | None, typer.Option(min=8, help="image side in pixels")] = None,
    patch_size: Annotated[int | None, typer.Option(min=1, help="patch side in pixels")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="precision of the frozen blocks")] = "fp32",
    batches: Annotated[str, typer.Option(help="local batch sizes")] = "8,16,32,64,128",
    cohorts: Annotated[str, typer.Option(help="cohort sizes")] = "1,4,10,32",
    clients: Annotated[str, typer.Option(help="numbers of clients, for --what scale")] = "100,1000,10000",
    repeats: Annotated[int, typer.Option(min=1, help="repetitions per measurement")] = 3,
    save: Annotated[Path | None, typer.Option(help="folder for JSON, table and plot")] = None,
    as_json: Json = False,
) -> None:
    """Measure the throughput of this machine, and compare it with a bare training loop.

    `--what throughput`: images per second of training and evaluation, sequential, threaded and fused, by batch and
    cohort size. `--what cache`: a run of 60 rounds with and without cached activations. `--what scale`: time and memory
    of a round by number of clients. `--what sweep`: overhead of a sweep of 60 short runs.
    """
    if what == "throughput":
        sizes = _numbers("batches", batches), _numbers("cohorts", cohorts)
        _throughput(backbone, checkpoint, (image_size, patch_size), device, precision, sizes, repeats, save, as_json)
        return
    counts = _numbers("clients", clients)
    answer, text = {"cache": _cache, "scale": lambda: _scale(counts), "sweep": _sweep}[what]()
    _output(answer, text, what, save, as_json)


def _cache() -> tuple[Any, str]:
    from fedprompt.benchmark.profiling.whole_runs import cache_gain

    gain = cache_gain()
    first, later = gain.forgetful / gain.first, gain.forgetful / gain.next
    return dataclasses.asdict(gain), (
        f"{gain.method}, {gain.rounds} rounds: {gain.forgetful:.2f} s without caches; {gain.first:.2f} s with empty "
        f"caches, {first:.1f} times faster; {gain.next:.2f} s with filled caches, {later:.1f} times faster"
    )


def _scale(clients: list[int]) -> tuple[Any, str]:
    from fedprompt.benchmark.profiling.whole_runs import scale

    rows = scale(("fedvpt", "fedper"), clients)
    lines = [
        f"{row.method:<8} {row.clients:>7,} clients: {row.round_seconds:.3f} s per round, {row.peak_mb:,.0f} MB; "
        f"{row.own_bytes:,} bytes per client; evaluation of all in {row.score_seconds:.2f} s"
        for row in rows
    ]
    return [dataclasses.asdict(row) for row in rows], "\n".join(lines)


def _sweep() -> tuple[Any, str]:
    from fedprompt.benchmark.profiling.whole_runs import sweep_loss

    loss = sweep_loss()
    return dataclasses.asdict(loss), (
        f"{loss.runs} short runs, {loss.workers} workers: {loss.lost:.1%} overhead per worker, from its second run on; "
        f"{loss.wall:.1f} s in total, {loss.inside / loss.workers:.1f} s of runs per worker"
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
    from fedprompt.benchmark.backbone.loading import load
    from fedprompt.benchmark.profiling.throughput import measure
    from fedprompt.benchmark.profiling.throughput_plots import draw, table
    from fedprompt.benchmark.runs.execute import require_device

    require_device(device)
    throughput = measure(load(backbone, CLASSES, checkpoint, *sizes, device, precision), *grid, repeats)
    name = f"{backbone}-{throughput.device}-{precision}"
    _output(throughput.as_json(), table(throughput).rstrip(), name, save, as_json)
    if save is not None:
        draw(throughput, save / f"{name}.png")


def _numbers(option: str, words: str) -> list[int]:
    """Distinct positive whole numbers. Raises ConfigError for anything else."""
    try:
        numbers = [int(word) for word in words.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise ConfigError(f"--{option} {words}: need positive whole numbers, as in 8,16,32.")
    return list(dict.fromkeys(numbers))


def _output(answer: Any, text: str, name: str, save: Path | None, as_json: bool) -> None:
    print(json.dumps(answer, indent=1) if as_json else text)
    if save is not None:
        try:
            save.mkdir(parents=True, exist_ok=True)
            (save / f"{name}.json").write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
            (save / f"{name}.md").write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"--save {save} cannot be written: {reason(error)}; name another folder.") from error


def gpu_check(
    device: Annotated[str, typer.Option(help="cuda, cuda:N, or cpu")] = "cuda",
    small: Annotated[bool, typer.Option("--small", help="smallest sizes, as for a CPU")] = False,
    out: Annotated[Path, typer.Option(help="folder for the results (JSON) and the picture")] = Path("runs/gpu-check"),
    as_json: Json = False,
) -> int:
    """Check in 8 minutes that everything runs on this GPU, that its numbers are right, and how fast it trains.

    Each check has a process and a time limit of its own. Results are saved after each. Repeat the command to continue.
    The exit code is 1 if a check finds a fault. Needs neither Ray nor a network.
    """
    from fedprompt.benchmark.runs.execute import require_device

    require_device(device)
    from fedprompt.benchmark.gpu_check.check_all import check_all
    from fedprompt.benchmark.gpu_check.report import passed, table

    checks = check_all(device, small, out)
    print(json.dumps(checks, indent=1) if as_json else table(checks))
    return 0 if passed(checks) else 1
