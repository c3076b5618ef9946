import pytest

from docs.pages import commands
from fedprompt.benchmark.cli import COMMANDS
from tests.benchmark.conftest import Bench

PAGES = {page.path: page.text for page in commands.pages()}


def test_the_index_leads_to_every_command_in_the_order_of_help() -> None:
    assert list(PAGES) == ["commands/index.md", *(f"commands/{name}.md" for name in COMMANDS)]
    for name in COMMANDS:
        assert f"[`bench {name}`]({name}.md)" in PAGES["commands/index.md"]


@pytest.mark.parametrize("words", [("sweep",), ("prune",), ("check",), ("data", "show")], ids=" ".join)
def test_a_page_names_every_option_that_help_names(bench: Bench, words: tuple[str, ...]) -> None:
    told = bench(*words, "--help").out.split()
    options = {word.rstrip(",") for word in told if word.startswith("--") and word != "--"}
    assert len(options) >= 2
    text = PAGES[f"commands/{words[0]}.md"]
    assert {option for option in options if option not in text} == set()


def test_a_page_says_what_a_command_takes_and_does() -> None:
    text = PAGES["commands/table.md"]
    assert text.startswith("# bench table\n\n```text\nbench table [OPTIONS]")
    assert "Methods by cells: mean and spread over seeds." in text
    assert "`--reference <str>`\n:   paired differences to this method" in text


def test_commands_of_a_group_stand_on_its_page() -> None:
    text = PAGES["commands/data.md"]
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## bench data list",
        "## bench data prepare",
        "## bench data verify",
        "## bench data show",
    ]


def test_options_of_the_grid_stand_apart() -> None:
    own, grid = PAGES["commands/sweep.md"].split("## Options of the grid")
    assert "`--workers" in own
    assert "`--alpha" in grid
    assert "## Options of the grid" not in PAGES["commands/table.md"]
