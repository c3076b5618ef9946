"""`bench export`, `bench merge`, `bench prune` and `bench reproduce`: what becomes of a directory of runs."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.cli.results import Directory, Json
from fedprompt.benchmark.cli.running import DEFAULT_OUT
from fedprompt.benchmark.config.options import Options


def export(
    directory: Directory,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="FILE.parquet or FILE.csv")],
    what: Annotated[str, typer.Option(help="one row a run, a round or a client: runs, rounds, clients")] = "runs",
) -> None:
    """Writes the records of a directory into one tidy file."""
    from fedprompt.results.records.export import export as write

    rows = write(directory, file, what)
    print(f"{rows} {what} of {directory} in {file}", file=sys.stderr)


def merge(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="directories of runs")],
    out: Annotated[Path, typer.Option(help="directory that takes them; it may hold runs already")],
) -> None:
    """Copies the runs of several directories into one: identical runs once, conflicting ones refused by name."""
    from fedprompt.benchmark.runs.merge import merge as copy

    copied, had = copy(directories, out)
    print(f"{copied} runs copied into {out}, {had} were there already", file=sys.stderr)


@grid_options
def prune(
    chosen: Options,
    directory: Directory,
    keep_failed: Annotated[bool, typer.Option(help="leave failed runs")] = False,
    unfinished: Annotated[bool, typer.Option(help="also runs that were cut off and would go on")] = False,
    outside: Annotated[bool, typer.Option(help="also runs that are not in the grid of the other options")] = False,
    other_commits: Annotated[bool, typer.Option(help="also runs made by another commit than this")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="delete; without it, only show")] = False,
) -> None:
    """Shows what of a directory may go (leftovers, failed runs, and what the options add), and deletes it with --yes.

    What a living sweep has claimed or is writing stays.
    """
    from fedprompt.benchmark.hardware.environment import describe
    from fedprompt.benchmark.runs.prune import delete, find

    grid = None
    if outside:
        from fedprompt.benchmark.planning.placeholder_data import identity
        from fedprompt.benchmark.runs.precision import resolve_precision

        grid = {config.run_id for config in resolve_precision(chosen.grid(identity))}
    commit = describe()["git_commit"] if other_commits else None
    found = find(directory, failed=not keep_failed, unfinished=unfinished, grid=grid, commit=commit)
    total = count = 0
    for waste in found:
        size = waste.bytes
        if yes and not delete(waste):
            print(f"{waste.path}: left, a sweep has taken it up", file=sys.stderr)
            continue
        print(f"{waste.path}: {waste.why}")
        total, count = total + size, count + 1
    print(f"{count} {'deleted' if yes else 'may go'}, {total / 1e6:.1f} MB", end="", file=sys.stderr)
    print("" if yes or not found else "; --yes deletes them", file=sys.stderr)


def reproduce(
    run: Annotated[str, typer.Argument(metavar="RUN", help="RUN_ID in --out, or DIR/RUN_ID")],
    out: Annotated[Path, typer.Option(help="directory of the runs", show_default=str(DEFAULT_OUT))] = DEFAULT_OUT,
    plugin: Annotated[list[str] | None, typer.Option(help="the plug-ins that the run came with")] = None,
    data_root: Annotated[str | None, typer.Option(help="folder of the data sets, where it has moved")] = None,
    as_json: Json = False,
) -> int:
    """Runs one setting again from its record, apart from its directory, and compares bit for bit; 1 where it differs."""
    from fedprompt.benchmark.runs.reproduce import SHOWN, command_of, config_of, entry_of
    from fedprompt.benchmark.runs.reproduce import reproduce as again

    place = Path(run) if "/" in run else out / run
    entry = entry_of(place)
    config = config_of(entry, plugin or (), data_root)
    print(command_of(config), file=sys.stderr)
    found = again(entry, place, config, lambda number, _: print(f"round {number}/{config.rounds}", file=sys.stderr))
    if as_json:
        print(
            json.dumps(
                {
                    "command": found.command,
                    "same": not found.numbers,
                    "numbers": found.numbers,
                    "environment": found.environment,
                },
                indent=1,
            )
        )
        return 1 if found.numbers else 0
    print(f"{place}: {f'{len(found.numbers)} numbers differ' if found.numbers else 'the same numbers, bit for bit'}")
    for line in found.numbers[:SHOWN]:
        print(f"  {line}")
    if len(found.numbers) > SHOWN:
        print(f"  and {len(found.numbers) - SHOWN} more")
    for line in found.environment:
        print(f"  environment: {line}")
    return 1 if found.numbers else 0
