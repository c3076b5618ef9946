"""`bench tune`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.cli.sweep_options import Address, Local, NoProgress, Quiet, Verbose, Workers, shown_of
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs.store import Store
from fedprompt.benchmark.scheduling.launch import Launch
from fedprompt.benchmark.simulation.schedule import evaluated_rounds

if TYPE_CHECKING:  # its imports are not needed for --help
    from fedprompt.benchmark.tuning.selection import Trial

OUT = Path("runs/tuning")  # separate from sweeps, so that these runs do not appear in their tables
GRID = ["lr=0.005,0.01,0.05,0.1"]
SHARE = 0.2  # default of --validation
FORM = "hyperparameter values, repeatable: NAME=A,B, or NAME=LOW..HIGH[:log] for draws; NAME may be METHOD.FIELD"


@grid_options
def tune(
    chosen: Options,
    grid: Annotated[list[str] | None, typer.Option(help=f"{FORM} [default: {GRID[0]}]", show_default=False)] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="random draws per method, instead of all combinations")
    ] = None,
    draw_seed: Annotated[int, typer.Option(min=0, help="seed of the draws")] = 0,
    last: Annotated[int, typer.Option(min=1, help="evaluations at the end of a run that are averaged")] = 1,
    to: Annotated[Path | None, typer.Option(help="preset to write (default: OUT/tuned.yaml)")] = None,
    out: Annotated[Path, typer.Option(help="directory of runs", show_default=str(OUT))] = OUT,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count the runs without running them")] = False,
    workers: Workers = None,
    address: Address = None,
    local: Local = False,
    no_progress: NoProgress = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> int:
    """Tune every method with equally many trials, and write the best of each as a preset for sweeps.

    Trials are compared on the clients' validation samples (--validation; by default 0.2 of their training samples),
    never on test data. One choice per method holds for all settings and seeds. Repeat the command to resume.
    """
    from fedprompt.benchmark.planning.absent_data import identity
    from fedprompt.benchmark.runs.precision import resolve_precision
    from fedprompt.benchmark.scheduling.options import SweepOptions
    from fedprompt.benchmark.tuning import selection

    chosen, preset = _with_validation(chosen, last), to or out / "tuned.yaml"
    selection.check_target(preset)
    untuned = resolve_precision(chosen.grid(identity if dry_run else None))
    from fedprompt.benchmark.tuning import search  # imports torch, which takes longer than to refuse a wrong name

    axes = [search.parse_axis(text) for text in grid or GRID]
    overrides = search.make_trials(axes, selection.recipes(untuned), draws, draw_seed)
    runs = selection.trial_runs(untuned, overrides)
    distinct = {config.run_id: config for trials in runs.values() for configs in trials for config in configs}
    launch = Launch(list(distinct.values()), Store(out))
    count, pending = len(launch.grid), len(launch.pending)
    shown = shown_of(no_progress, quiet, verbose)
    if shown.notes:
        print(f"{_counts(overrides)}: {count} runs, {count - pending} already done, in {out}", file=sys.stderr)
    if dry_run:
        print(f"{count} runs: {count - pending} done, {pending} to run")
        return 0
    launch.run(SweepOptions(workers, address=address, local=local, shown=shown))
    trials = {
        method: [
            selection.evaluate_trial(launch.store, *trial, last)
            for trial in zip(overrides[method], configs, strict=True)
        ]
        for method, configs in runs.items()
    }
    search_facts = {"grid": [axis.text for axis in axes], "draws": draws, "draw-seed": draw_seed if draws else None}
    facts = search_facts | {"last": last, "validation": chosen.validation, "seeds": list(chosen.seeds)}
    selection.write_preset(preset, selection.preset(chosen, trials, facts))
    return _print_choices(trials, preset)


def _with_validation(chosen: Options, last: int) -> Options:
    """The options with a validation share and without per-method options. Raises ConfigError if they do not fit."""
    if "validation" not in chosen.model_fields_set:
        chosen = chosen.model_copy(update={"validation": SHARE})
    if not chosen.validation:
        raise ConfigError(f"--validation 0: tuning needs validation samples; omit it for {SHARE}, or give a share.")
    evaluations = sum(number > 0 for number in evaluated_rounds(chosen.rounds, chosen.eval_every, chosen.eval_at))
    if last > evaluations:
        raise ConfigError(
            f"--last {last}: these {chosen.rounds} rounds have {evaluations} evaluations after the start; "
            f"lower --last, or use --eval-every {max(1, chosen.rounds // last)}."
        )
    return chosen.model_copy(update={"per_method": {}})


def _counts(trials: Mapping[str, Sequence[object]]) -> str:
    most = max(map(len, trials.values()))
    fewer = [method for method, tried in trials.items() if len(tried) < most]
    text = f"{len(trials)} methods, {most} trials each"
    return text + (f" (fewer for {', '.join(fewer)}, because nothing is trained)" if fewer else "")


def _print_choices(trials: Mapping[str, Sequence["Trial"]], preset: Path) -> int:
    """Prints the choice per method; returns 1 if a method has none because all its trials failed."""
    from fedprompt.benchmark.tuning.selection import best

    winners = {method: best(tried) for method, tried in trials.items()}
    for method, winner in winners.items():
        if winner is None:
            print(f"{method}: no choice, because every trial has a failed run; `bench status` shows why")
            continue
        failed = sum(trial.score is None for trial in trials[method])
        note = f"{len(trials[method])} trials" + (f", {failed} failed" if failed else "")
        values = ", ".join(f"{name}={value}" for name, value in winner.overrides.to_preset().items()) or "defaults"
        print(f"{method}: {values} ({winner.score:.1%} on validation samples; {note})")
    print(f"use it with `bench sweep --preset {preset}`", file=sys.stderr)
    return int(None in winners.values())
