"""`bench plan`."""

import json
import sys
from typing import Annotated, Any

import typer

from fedprompt.benchmark.cli.common_options import DEFAULT_OUT, Json, Out
from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.runs.store import Store


@grid_options
def plan(
    chosen: Options,
    out: Out = DEFAULT_OUT,
    workers: Annotated[int | None, typer.Option(min=1, help="runs at a time (default: one per processor)")] = None,
    as_json: Json = False,
) -> None:
    """Estimate the runs, time, memory and traffic of a sweep with these options, without running it.

    Times come from finished runs of the same method in --out or, if there are none, from a few steps timed here. This
    is a first estimate. It needs neither the weights nor a published data set.
    """
    from fedprompt.benchmark.planning.placeholder_data import identity
    from fedprompt.benchmark.runs.precision import resolve_precision
    from fedprompt.benchmark.sweep.launch import Launch

    launch = Launch(resolve_precision(chosen.grid(identity)), Store(out))
    runs, pending = len(launch.grid), launch.pending
    answer: dict[str, Any] = {"runs": runs, "done": runs - len(pending), "to_run": len(pending)}
    if pending:
        from fedprompt.benchmark.planning.grid_cost import grid_cost

        methods = len({config.method for config in pending})
        print(f"timing training steps of {methods} methods, with random weights ...", file=sys.stderr)
        finished = launch.store.entries(launch.entries) if out.is_dir() else []
        answer |= grid_cost(pending, finished, workers)
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
