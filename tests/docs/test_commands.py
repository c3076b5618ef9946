"""Every `bench` command in the Markdown files is valid."""

import re
import shlex
from typing import Any

import pytest
import typer

from fedprompt.benchmark.cli import COMMANDS, build
from tests.docs.markdown import FILES, ROOT, SPAN, blocks, commands, prose

REFUSAL: Any = typer.BadParameter.__mro__[2]  # typer does not export the base class of its errors
PLACES = r"\[[^\]]*\]|\.\.\.|…"  # optional parts of a usage line, and omissions


def fault(words, whole=True):
    """The error in a command line without `bench`, or an empty string. `whole=False` allows missing arguments."""
    name = next((word for word in words if word in COMMANDS), None)
    command: Any = typer.main.get_command(build(name))
    path, rest = "bench", words
    try:
        while hasattr(command, "commands"):
            if not rest:
                return ""
            if rest[0].startswith("-"):
                break
            if rest[0] not in command.commands:
                return f"{path} has no command {rest[0]}"
            path, command, rest = f"{path} {rest[0]}", command.commands[rest[0]], rest[1:]
        if whole or "--" in " ".join(rest):
            command.make_context(path, list(rest), resilient_parsing=not whole)
    except REFUSAL as error:
        return f"{path}: {error.format_message()}"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    return "".join(f"{path} has no option {option}" for option in sorted(given - known - {"--help"}))


def in_blocks(text):
    """The words after `bench` of each command in shell blocks and blocks without a language."""
    found = []
    for block in blocks(text):
        if block.language in ("sh", ""):
            found += [words[words.index("bench") + 1 :] for words in commands(block.text) if "bench" in words]
    return found


def in_spans(text):
    """The same for code spans, which may omit arguments."""
    spans = [span.replace("\\|", "|") for span in SPAN.findall(prose(text)) if span.startswith("bench ")]
    return [shlex.split(re.sub(PLACES, " ", span), comments=True)[1:] for span in spans]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_command_in_a_file_is_valid(file):
    text = file.read_text(encoding="utf-8")
    faults = [(words, fault(words)) for words in in_blocks(text)]
    faults += [(words, fault(words, whole=False)) for words in in_spans(text)]
    assert [(words, message) for words, message in faults if message] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sweep --methods all --alpha 0.05,0.5", ""),
        ("data show pacs --partition domain", ""),
        ("--versoin", "--versoin"),
        ("swep --methods all", "no command swep"),
        ("data shew pacs", "no command shew"),
        ("sweep --method-s all", "--method-s"),
        ("table", "DIR"),
        ("sweep --rounds many", "--rounds"),
    ],
)
def test_an_invalid_command_is_found(line, message):
    found = fault(line.split())
    assert message in found
    assert bool(found) == bool(message)


def test_a_span_may_omit_arguments_but_not_invent_options():
    assert fault(["table"], whole=False) == ""
    assert "no option --colour" in fault(["table", "--colour", "red"], whole=False)


def test_the_files_show_most_commands():
    named = {words[0] for file in FILES for words in in_blocks(file.read_text(encoding="utf-8")) if words}
    assert len(named & COMMANDS.keys()) > 15


def test_commands_are_found_in_blocks_and_spans():
    text = "`bench a [X]` and `other`\n```sh\nx && bench b \\\n  c # bench d\n```\n```python\nbench e\n```\n"
    assert in_blocks(text) == [["b", "c"]]
    assert in_spans(text) == [["a"]]
