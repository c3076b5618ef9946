from typing import Any

import pytest
import typer

from docs.pages import commands
from docs.pages.page import escape
from fedprompt.benchmark.cli import COMMANDS, build, main

PAGES = {page.path: page.text for page in commands.pages()}


def test_the_index_links_every_command_in_the_order_of_help():
    assert list(PAGES) == ["commands/index.md", *(f"commands/{name}.md" for name in COMMANDS)]
    for name in COMMANDS:
        assert f"[`bench {name}`]({name}.md)" in PAGES["commands/index.md"]


@pytest.mark.parametrize("words", [("sweep",), ("prune",), ("check",), ("data", "show")], ids=" ".join)
def test_a_page_lists_every_option_that_help_lists(capsys, words):
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    words_of_help = capsys.readouterr().out.split()
    options = {word.rstrip(",") for word in words_of_help if word.startswith("--") and word != "--"}
    assert len(options) >= 2
    text = PAGES[f"commands/{words[0]}.md"]
    assert {option for option in options if option not in text} == set()


def test_a_page_shows_usage_help_text_and_options():
    text = PAGES["commands/table.md"]
    assert text.startswith("# bench table\n\n```text\nbench table [OPTIONS]")
    command: Any = typer.main.get_command(build("table")).commands["table"]
    assert escape(command.help) in text
    (reference,) = [option for option in command.params if option.name == "reference"]
    assert f"`--reference <str>`\n:   {escape(reference.help)}" in text


def test_the_page_of_a_group_has_a_section_per_command():
    text = PAGES["commands/data.md"]
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## bench data list",
        "## bench data prepare",
        "## bench data verify",
        "## bench data show",
    ]


def test_the_options_of_a_grid_are_in_the_groups_of_help():
    page = PAGES["commands/sweep.md"]
    titles = [line for line in page.splitlines() if line.startswith("## ")]
    assert titles == [
        f"## {title}"
        for title in (
            "Common options",
            "Data",
            "Federation",
            "Training",
            "Backbone",
            "Execution",
            "Output",
            "Options",
            "Examples",
        )
    ]
    common = page.partition("## Common options")[2].partition("## Data")[0]
    assert "`--methods" in common
    assert "`--lr" not in common
    assert "## Federation" not in PAGES["commands/table.md"]
