"""A page for each `bench` command, from the application that answers `--help`."""

from typing import Any

import typer

from docs.pages.page import Page, definitions, plain, sections, table
from fedprompt.benchmark.cli import COMMANDS, build
from fedprompt.benchmark.config.options import Options

GRID = {*Options.model_fields, "preset"}
"""Parameters that run, sweep, plan and tune share, and of which there are many."""


def pages() -> list[Page]:
    """The index of all commands, and a page for each in the order of `bench --help`."""
    rows = [(f"[`bench {name}`]({name}.md)", plain(text)) for name, (_, text) in COMMANDS.items()]
    index = sections(
        "# Commands",
        "`bench COMMAND --help` prints what these pages show: both are made from the same application.",
        table(("command", "does"), rows),
        "Exit codes: 0 all well, 1 a run failed or a check did not hold, 2 a usage or configuration error, told in "
        "one or two plain lines. With `--json` the answer is on stdout alone; progress and logs go to stderr.",
    )
    return [Page("commands/index.md", "All commands", index), *(_page(name) for name in COMMANDS)]


def _page(name: str) -> Page:
    bench: Any = typer.main.get_command(build(name))
    with bench.make_context("bench", [name], resilient_parsing=True) as context:
        return Page(f"commands/{name}.md", f"bench {name}", _described(bench.commands[name], name, context, 1))


def _described(command: Any, name: str, parent: Any, level: int) -> str:
    """A command's usage, text, arguments and options; of a group, those of its commands below one another."""
    with command.make_context(name, [], parent=parent, resilient_parsing=True) as context:
        usage = f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
        inner = getattr(command, "commands", {})
        parts = [_described(one, word, context, level + 1) for word, one in inner.items()] or _options(
            command, context, level + 1
        )
        return sections(f"{'#' * level} {context.command_path}", usage, plain(command.help or ""), *parts)


def _options(command: Any, context: Any, level: int) -> list[str]:
    """What `--help` says of each parameter, those of the grid apart."""
    grid = {"rounds", "preset"} <= {parameter.name for parameter in command.params}
    parts: dict[str, list[tuple[str, str]]] = {"Arguments and options": [], "Options of the grid": []}
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            head = "Options of the grid" if grid and parameter.name in GRID else "Arguments and options"
            parts[head].append((record[0], plain(record[1])))
    return [f"{'#' * level} {head}\n\n{definitions(pairs)}" for head, pairs in parts.items() if pairs]
