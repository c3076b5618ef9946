"""Generates a page per `bench` command from the application that also prints `--help`."""

from typing import Any

import typer

from docs.pages.page import Page, definitions, escape, sections, table
from fedprompt.benchmark.cli import COMMANDS, build
from fedprompt.benchmark.cli.help import EXAMPLES, grouped


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
    """The help of each parameter, in the groups of `--help`, and its examples."""
    parts = []
    for title, parameters in grouped(command, context).items():
        records = [parameter.get_help_record(context) for parameter in parameters]
        parts.append(f"{'#' * level} {title}\n\n{definitions([(record[0], escape(record[1])) for record in records])}")
    if examples := EXAMPLES.get(command.name):
        parts.append(f"{'#' * level} Examples\n\n```sh\n{chr(10).join(examples)}\n```")
    return parts
