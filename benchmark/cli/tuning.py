"""`bench tune`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.cli.running import work
from fedprompt.benchmark.cli.sweep_options import Address, Workers
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store

if TYPE_CHECKING:  # what it imports is not needed for --help
    from fedprompt.benchmark.tuning.selection import Trial

OUT = Path("runs/tuning")  # apart from the sweeps, whose tables these runs would crowd
GRID = ["lr=0.005,0.01,0.05,0.1"]
SHARE = 0.2  # of each client's training samples, where --validation does not say
FORM = "what is tried, repeatable: NAME=A,B for a value list, NAME=LOW..HIGH[:log] to draw from; METHOD.FIELD too"


@grid_options
def tune(
    chosen: Options,
    grid: Annotated[list[str] | None, typer.Option(help=f"{FORM} [default: {GRID[0]}]", show_default=False)] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, help="random draws a method, in place of all combinations")
    ] = None,
    draw_seed: Annotated[int, typer.Option(min=0, help="seed of the draws")] = 0,
    last: Annotated[int, typer.Option(min=1, help="evaluations at a run's end that count")] = 1,
    to: Annotated[Path | None, typer.Option(help="the preset to write (default: OUT/tuned.yaml)")] = None,
    out: Annotated[Path, typer.Option(help="directory of the runs", show_default=str(OUT))] = OUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say how many runs there are, and run nothing")] = False,
    workers: Workers = None,
    address: Address = None,
) -> int:
    """Tries the same number of settings for every method, and writes the best of each as a preset for sweeps.

    Chosen on the clients' validation samples (--validation, 0.2 of their training samples unless said), never on test
    data: one setting a method, for all settings and seeds of the grid. The same command resumes.
    """
    from fedprompt.benchmark.planning.placeholder_data import identity
    from fedprompt.benchmark.runs.precision import resolve_precision
    from fedprompt.benchmark.sweep.options import SweepOptions
    from fedprompt.benchmark.tuning import search
    from fedprompt.benchmark.tuning import selection as tuning

    chosen, place = _with_validation(chosen, last), to or out / "tuned.yaml"
    tuning.check_place(place)
    settings = resolve_precision(chosen.grid(identity if dry_run else None))
    axes = [search.axis(text) for text in grid or GRID]
    tried = search.trials(axes, tuning.recipes(settings), draws, draw_seed)
    runs = tuning.grid(settings, tried)
    every = list({config.run_id: config for of in runs.values() for own in of for config in own}.values())
    store = Store(out)
    to_run = len(store.pending(every))
    print(f"{_counts(tried)}: {len(every)} runs, {len(every) - to_run} done before, in {out}", file=sys.stderr)
    if dry_run:
        print(f"{len(every)} runs: {len(every) - to_run} done, {to_run} to run")
        return 0
    work(every, store, SweepOptions(workers, address=address))
    judged = {
        method: [tuning.judge(store, own, configs, last) for own, configs in zip(tried[method], of, strict=True)]
        for method, of in runs.items()
    }
    facts: dict[str, Any] = {
        "grid": [one.text for one in axes],
        "draws": draws,
        "draw-seed": draw_seed if draws else None,
    }
    facts |= {"last": last, "validation": chosen.validation, "seeds": list(chosen.seeds)}
    tuning.write(place, tuning.preset(chosen, judged, facts))
    return _tell(judged, place)


def _with_validation(chosen: Options, last: int) -> Options:
    """The options with a validation share, checked. Raises `ConfigError`."""
    if "validation" not in chosen.model_fields_set:
        chosen = chosen.model_copy(update={"validation": SHARE})
    if not chosen.validation:
        raise ConfigError(f"--validation 0: settings are chosen on validation samples; leave {SHARE}, or name a share.")
    evaluations = -(-chosen.rounds // chosen.eval_every)  # after the start
    if last > evaluations:
        raise ConfigError(
            f"--last {last}: {chosen.rounds} rounds with --eval-every {chosen.eval_every} have {evaluations} "
            "evaluations after the start; lower one of the two."
        )
    return chosen.model_copy(update={"per_method": {}})


def _counts(tried: Mapping[str, Sequence[object]]) -> str:
    most = max(map(len, tried.values()))
    once = [method for method, trials in tried.items() if len(trials) < most]
    text = f"{len(tried)} methods, {most} trials each"
    return text + (f" ({', '.join(once)}: nothing of it to train, so fewer)" if once else "")


def _tell(judged: Mapping[str, Sequence["Trial"]], place: Path) -> int:
    """Prints each method's choice; 1 where one has none, since all its trials failed."""
    from fedprompt.benchmark.tuning.selection import best

    lost = 0
    for method, trials in judged.items():
        winner = best(trials)
        lost += winner is None
        failed = sum(trial.score is None for trial in trials)
        note = f", {failed} failed" if failed else ""
        if winner is None:
            print(f"{method}: no choice, since every trial has a failed run; `bench status` says why")
        else:
            words = ", ".join(f"{name}={value}" for name, value in winner.own.words.items()) or "as it is"
            print(f"{method}: {words} ({winner.score:.1%} on validation samples; {len(trials)} trials{note})")
    print(f"`bench sweep --preset {place}` uses it", file=sys.stderr)
    return 1 if lost else 0
