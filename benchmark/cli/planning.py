"""`bench plan`: the options of a sweep, and what it would do and cost."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.cli.running import DEFAULT_OUT, Out
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs.store import Store


@grid_options
def plan(
    chosen: Options,
    out: Out = DEFAULT_OUT,
    workers: Annotated[int | None, typer.Option(min=1, help="runs at a time (default: one a processor)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> None:
    """What a sweep with these options would do: runs, those done, time, memory and traffic. Runs nothing.

    Seconds a run come from finished runs of the same method in --out where there are any, else from a step or two
    timed here; a first estimate. Needs neither the weights nor a published data set.
    """
    from fedprompt.benchmark.planning.placeholder_data import identity
    from fedprompt.benchmark.runs.precision import resolve_precision

    grid = resolve_precision(chosen.grid(identity))
    pending = Store(out).pending(grid)
    answer: dict[str, Any] = {"runs": len(grid), "done": len(grid) - len(pending), "to_run": len(pending)}
    if pending:
        print(f"timing a step of {len({c.method for c in pending})} methods, with random weights ...", file=sys.stderr)
        answer |= _costs(pending, out, workers)
        for note in answer["notes"]:
            print(f"note: {note}", file=sys.stderr)
    if as_json:
        print(json.dumps(answer, indent=1))
        return
    print(f"{answer['runs']} runs: {answer['done']} done, {answer['to_run']} to run")
    if pending:
        print(f"about {answer['seconds'] / 60:.1f} min with {answer['workers']} workers, ", end="")
        print(f"{answer['memory_mb']:.0f} MB of memory, {answer['upload_mb']:.1f} MB up and ", end="")
        print(f"{answer['download_mb']:.1f} MB down (simulated)")


def _costs(pending: Sequence[RunConfig], out: Path, workers: int | None) -> dict[str, Any]:
    from fedprompt.benchmark.hardware.devices import processors
    from fedprompt.benchmark.planning.estimate import Estimate, estimate, resident_mb

    count = min(workers or processors(), len(pending))
    known = _measured(out)
    jobs: dict[tuple[Any, ...], Estimate] = {}
    total = [0.0, 0, 0]
    for config in pending:
        key = (config.method, config.dataset)
        jobs[key] = jobs.get(key) or estimate(config)
        job = jobs[key]
        total[0] += known.get(_same_work(config.model_dump(mode="json")), job.seconds)
        total[1] += job.upload_bytes
        total[2] += job.download_bytes
    first: dict[str, float] = {}  # a data set's frozen activations are computed once a machine
    for (_, dataset), job in jobs.items():
        first[dataset] = max(first.get(dataset, 0.0), job.first_seconds)
    held, shared = (max(getattr(job, what) for job in jobs.values()) for what in ("held_bytes", "shared_bytes"))
    return {
        "workers": count,
        "seconds": total[0] / count + sum(first.values()),
        "upload_mb": total[1] / 1e6,
        "download_mb": total[2] / 1e6,
        "memory_mb": (resident_mb() + held / 1e6) * count + shared / 1e6,
        "notes": list(dict.fromkeys(note for job in jobs.values() for note in job.notes)),
    }


def _measured(out: Path) -> dict[str, float]:
    """Mean seconds of finished runs by the work they did."""
    seconds: dict[str, list[float]] = {}
    for entry in Store(out).entries() if out.is_dir() else []:
        took = (entry.result.get("seconds") or {}).get("total")
        if entry.status == "done" and took is not None:
            seconds.setdefault(_same_work(entry.result["config"]), []).append(took)
    return {work: sum(values) / len(values) for work, values in seconds.items()}


def _same_work(config: dict[str, Any]) -> str:
    """What runs of equal length share: everything but the seed, the skew, and where they are computed."""
    ignored = ("seed", "alpha", "plugins", "data_root", "checkpoint", "executor", "device")
    return json.dumps({k: v for k, v in config.items() if k not in ignored}, sort_keys=True)
