"""`bench plan`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fedprompt.benchmark.cli.common_options import DEFAULT_OUT, Json, Out, Unreadable, finite
from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.config.run_config import MAX_ROUNDS
from fedprompt.benchmark.durations import span
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store

METRIC = "seen.mean"  # whose differences --detect is about


@grid_options
def plan(
    chosen: Options,
    out: Out = DEFAULT_OUT,
    detect: Annotated[
        float | None,
        typer.Option(
            callback=finite,
            help="instead: the seeds needed to detect a difference of so many points, from the runs in --out",
        ),
    ] = None,
    to_plateau: Annotated[
        int | None,
        typer.Option(
            min=4, max=MAX_ROUNDS, help="instead: run two methods for so many rounds and propose how many are enough"
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="runs at a time (default: one per processor)")] = None,
    as_json: Json = False,
) -> int:
    """Estimate the runs, time, memory and traffic of a sweep with these options, without running it.

    Times come from finished runs of the same method in --out or, if there are none, from a few steps timed here. This
    is a first estimate. It needs neither the weights nor a published data set.
    """
    if detect is not None:
        return _detect(out, detect, as_json)
    if to_plateau is not None:
        _to_plateau(chosen, to_plateau, as_json)
        return 0
    from fedprompt.benchmark.planning.absent_data import identity
    from fedprompt.benchmark.runs.precision import resolve_precision
    from fedprompt.benchmark.scheduling.launch import Launch

    unreadable = Unreadable()
    launch = Launch(resolve_precision(chosen.grid(identity)), Store(out), unreadable)
    runs, pending = len(launch.grid), launch.pending
    answer: dict[str, Any] = {"runs": runs, "done": launch.done, "to_run": len(pending)}
    if pending:
        from fedprompt.benchmark.planning.grid_cost import grid_cost

        methods = len({config.method for config in pending})
        print(f"timing training steps of {methods} methods, with random weights ...", file=sys.stderr)
        answer |= grid_cost(pending, launch.cost_entries(), workers)
        for note in answer["notes"]:
            print(f"note: {note}", file=sys.stderr)
    if as_json:
        print(json.dumps(answer, indent=1))
        return unreadable.code
    print(f"{answer['runs']} runs: {answer['done']} done, {answer['to_run']} to run")
    if pending:
        time = span(answer["seconds_low"], answer["seconds_high"])
        print(f"{time} with {answer['workers']} worker{'s' * (answer['workers'] > 1)}, ", end="")
        print(f"{answer['memory_mb']:.0f} MB of memory, {answer['upload_mb']:.1f} MB up and ", end="")
        print(f"{answer['download_mb']:.1f} MB down (simulated)")
    return unreadable.code


def _to_plateau(chosen: Options, rounds: int, as_json: bool) -> None:
    """Prints the number of rounds after which a pilot of so many rounds changed little."""
    from fedprompt.benchmark.planning.plateau import WITHIN, pilot, propose
    from fedprompt.benchmark.runs.execute import execute
    from fedprompt.benchmark.runs.precision import resolve_precision

    def report(fact: dict[str, Any]) -> None:
        where = fact["dataset"] + (f", alpha {fact['alpha']:g}" if fact["alpha"] is not None else "")
        print(
            f"  {fact['method']} on {where}: seen {fact['seen']:.1%}, within {WITHIN:.0%} of it from round "
            f"{fact['enough']} on; {100 * fact['gain']:+.1f} points in the last quarter",
            file=sys.stderr,
        )

    enough, facts = propose(resolve_precision(pilot(chosen, rounds)), execute, report)
    if as_json:
        print(json.dumps({"pilot_rounds": rounds, "rounds": enough, "runs": facts}, indent=1))
    elif enough is None:
        print(
            f"no proposal: a method still climbs after {rounds} rounds; use a longer pilot, --to-plateau {4 * rounds}"
        )
    else:
        print(f"--rounds {enough}: from there to round {rounds}, seen accuracy stays within {WITHIN:.0%} of its end")


def _detect(directory: Path, points: float, as_json: bool) -> int:
    """Prints the number of seeds that each setting needs to detect a difference of `points`."""
    from fedprompt.results.records.frames import load
    from fedprompt.results.statistics.power import POWER, detection

    if not points > 0:
        raise ConfigError(f"--detect {points:g}: a difference is above 0 points.")
    unreadable = Unreadable()
    found = detection(load(directory, unreadable=unreadable), METRIC, points / 100)
    if as_json:
        print(
            json.dumps(
                {"points": points, "metric": METRIC, "power": POWER, "settings": found.to_dict("records")}, indent=1
            )
        )
        return unreadable.code
    print(f"seeds to detect {points:g} points of {METRIC} between two methods (power {POWER:.0%}, two-sided 5 %)")
    for row in found.to_dict("records"):
        spreads = [f"{row[f'seeds_{kind}']} (spread {100 * row[f'spread_{kind}']:.1f})" for kind in ("median", "worst")]
        print(
            f"  {row['setting']}: {spreads[0]} for the median of {row['pairs']} pairs, {spreads[1]} for the worst, ",
            end="",
        )
        print(f"{row['method']} and {row['other']}")
    print("  paired t test with the spread of the paired differences in these runs; a table of many methods needs more")
    return unreadable.code
