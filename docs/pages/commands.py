"""Generates a page per `bench` command from the application that also prints `--help`."""

from typing import Any

import typer

from docs.pages.page import Page, definitions, escape, sections, table
from fedprompt.benchmark.cli import COMMANDS, build
from fedprompt.benchmark.config.options import Options

GRID = {*Options.model_fields, "preset"}
"""Parameters that run, sweep, plan and tune share; they get a section of their own."""


def pages() -> list[Page]:
    """Return the index of all commands, then a page per command in the order of `bench --help`."""
    rows = [(f"[`bench {name}`]({name}.md)", escape(text)) for name, (_, text) in COMMANDS.items()]
    index = sections(
        "# Commands",
        "`bench COMMAND --help` prints the same information; both are generated from one definition.",
        table(("command", "does"), rows),
        "Exit codes: 0 success; 1 a run failed, a check did not pass, or a record could not be read and is left out "
        "(the reason is on stderr, the other runs are shown); 2 a usage or configuration error, explained in "
        "one or two lines. With `--json`, stdout holds only the JSON document; progress and logs go to stderr.",
    )
    return [Page("commands/index.md", "All commands", index), *(_page(name) for name in COMMANDS)]


def _page(name: str) -> Page:
    bench: Any = typer.main.get_command(build(name))
    with bench.make_context("bench", [name], resilient_parsing=True) as context:
        return Page(f"commands/{name}.md", f"bench {name}", _describe(bench.commands[name], name, context, 1))


def _describe(command: Any, name: str, parent: Any, level: int) -> str:
    """Usage, help text and options of a command; for a group, the same of each of its commands."""
    with command.make_context(name, [], parent=parent, resilient_parsing=True) as context:
        usage = f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
        children = getattr(command, "commands", {})
        parts = [_describe(child, word, context, level + 1) for word, child in children.items()] or _options(
            command, context, level + 1
        )
        return sections(f"{'#' * level} {context.command_path}", usage, escape(command.help or ""), *parts)


def _options(command: Any, context: Any, level: int) -> list[str]:
    """The help of each parameter, with the grid's parameters in a section of their own."""
    has_grid = {"rounds", "preset"} <= {parameter.name for parameter in command.params}
    parts: dict[str, list[tuple[str, str]]] = {"Arguments and options": [], "Options of the grid": []}
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            heading = "Options of the grid" if has_grid and parameter.name in GRID else "Arguments and options"
            parts[heading].append((record[0], escape(record[1])))
    return [f"{'#' * level} {heading}\n\n{definitions(pairs)}" for heading, pairs in parts.items() if pairs]
