"""`bench export`, `bench merge`, `bench prune` and `bench reproduce`."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedprompt.benchmark.cli.common_options import DEFAULT_OUT, Directory, Json, Out, Unreadable
from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.cli.selection_options import selection_options
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.errors import ConfigError

if TYPE_CHECKING:
    from fedprompt.results.records.selection import Selection


@selection_options
def export(
    selection: "Selection",
    directory: Directory,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="FILE.parquet, FILE.csv, or a folder")],
    what: Annotated[
        str | None, typer.Option(help="rows of a FILE, one per run, round or client: runs, rounds, clients [runs]")
    ] = None,
) -> int:
    """Export the records of a directory: one tidy file, or a folder of all three tables and the records themselves.

    A folder also lists the columns, and `bench merge` makes a directory of runs of it again. --metric leaves metrics
    out of the rows of runs; the records of the chosen runs stay whole. A folder has no logs, kept models or names of
    hosts, but the paths in the options of the runs.
    """
    from fedprompt.results.records.export import export as write
    from fedprompt.results.records.export import export_folder

    unreadable = Unreadable()
    if target.suffix and not target.is_dir():
        rows = {what or "runs": write(directory, target, what or "runs", unreadable, selection)}
    elif what:
        raise ConfigError(f"--what {what} needs a file, and {target} is a folder: it gets runs, rounds and clients")
    else:
        rows = export_folder(directory, target, unreadable, selection)
    counts = ", ".join(f"{count} {name}" for name, count in rows.items())
    print(f"{counts} of {directory} in {target}", file=sys.stderr)
    return unreadable.code


def merge(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="directories of runs, or exported folders")
    ],
    out: Annotated[Path, typer.Option(help="target directory; it may contain runs")],
) -> None:
    """Copy the runs of several directories into one. Identical runs are copied once, conflicting ones refused.

    From a folder of `bench export DIR FOLDER`, the runs are rebuilt without logs and kept models; a sweep into --out
    then computes only what is missing.
    """
    from fedprompt.benchmark.runs.merge import merge as copy

    copied, present = copy(directories, out)
    print(f"{copied} runs copied into {out}, {present} already present", file=sys.stderr)


@partial(grid_options, fields=Options.model_fields.keys() - {"executor"})
def prune(
    chosen: Options,
    directory: Directory,
    keep_failed: Annotated[bool, typer.Option(help="keep failed runs")] = False,
    unfinished: Annotated[bool, typer.Option(help="also interrupted runs, which could be resumed")] = False,
    outside: Annotated[
        bool, typer.Option(help="also runs outside the grid that the options of a sweep define")
    ] = False,
    other_commits: Annotated[bool, typer.Option(help="also runs of other commits")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="delete instead of listing")] = False,
) -> int:
    """List removable runs; delete them with --yes.

    Removable are leftovers of killed sweeps, failed runs, and what the options add. Runs that an active sweep
    has locked or is writing are kept.
    """
    from fedprompt.benchmark.hardware.environment import describe
    from fedprompt.benchmark.runs.prune import delete, find

    grid, given = None, sorted(chosen.model_fields_set)
    if given and not outside:
        option = f"--{given[0].replace('_', '-')}"
        raise ConfigError(f"{option} defines a grid, which prune uses only with --outside; add it, or omit {option}.")
    if outside:
        from fedprompt.benchmark.planning.absent_data import identity
        from fedprompt.benchmark.runs.precision import resolve_precision

        grid = {config.run_id for config in resolve_precision(chosen.grid(identity))}
    commit = describe()["git_commit"] if other_commits else None
    unreadable = Unreadable()
    removable = find(
        directory, failed=not keep_failed, unfinished=unfinished, grid=grid, commit=commit, unreadable=unreadable
    )
    total = count = 0
    for item in removable:
        size = item.bytes
        if yes and not delete(item):
            print(f"{item.path}: kept, an active sweep uses it", file=sys.stderr)
            continue
        print(f"{item.path}: {item.why}")
        total, count = total + size, count + 1
    print(f"{count} {'deleted' if yes else 'removable'}, {total / 1e6:.1f} MB", end="", file=sys.stderr)
    print("" if yes or not removable else "; delete with --yes", file=sys.stderr)
    return unreadable.code


def reproduce(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="RUN_ID in --out, or DIR/RUN_ID; DIR may be an exported folder")
    ],
    out: Out = DEFAULT_OUT,
    plugin: Annotated[list[str] | None, typer.Option(help="plug-in files that the run used")] = None,
    data_root: Annotated[str | None, typer.Option(help="folder of the data sets, if it has moved")] = None,
    as_json: Json = False,
) -> int:
    """Repeat a run from its record, outside its directory, and compare bit for bit. Exits with 1 if numbers differ."""
    from fedprompt.benchmark.runs.reproduce import SHOWN, config_of, entry_of
    from fedprompt.benchmark.runs.reproduce import reproduce as repeat
    from fedprompt.benchmark.sharing.exported_run import ExportedRun
    from fedprompt.results.records.files import exported_file
    from fedprompt.results.report.command import command

    place = Path(run) if "/" in run else out / run
    exported = ExportedRun(place.parent, place.name) if exported_file(place.parent, "runs") else None
    entry = exported.entry if exported else entry_of(place)
    config = config_of(entry, plugin or (), data_root)
    print(command(config.model_dump(mode="json")), file=sys.stderr)

    def progress(number: int, *_: object) -> None:
        print(f"round {number}/{config.rounds}", file=sys.stderr)

    comparison = exported.reproduce(config, progress) if exported else repeat(entry, place, config, progress)
    if as_json:
        facts = dataclasses.asdict(comparison)
        print(json.dumps({"command": facts.pop("command"), "same": not comparison.numbers, **facts}, indent=1))
        return int(bool(comparison.numbers))
    numbers = comparison.numbers
    print(f"{place}: {comparison.outcome}")
    for line in numbers[:SHOWN]:
        print(f"  {line}")
    if len(numbers) > SHOWN:
        print(f"  and {len(numbers) - SHOWN} more")
    for line in comparison.environment:
        print(f"  environment: {line}")
    return int(bool(numbers))
