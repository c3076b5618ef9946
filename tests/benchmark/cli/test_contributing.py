import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedprompt.methods import registry
from tests.benchmark.conftest import SMALL, Bench, refused

LINE = "        # x = prompts.insert_after_cls("


@pytest.fixture(autouse=True)
def _own_registry(plugin: Callable[..., Path]) -> None:
    """What a test registers is forgotten after it."""


def test_a_new_method_fails_the_check_until_its_marked_line_is_put_in(bench: Bench, tmp_path: Path) -> None:
    assert bench("new-method", "my-method").code == 0
    before = bench("check", "my_method.py")
    assert before.code == 1
    assert "BROKEN" in before.out
    assert "the loss does not use prompt" in before.out
    text = (tmp_path / "my_method.py").read_text()
    assert text.count(LINE) == 1
    (tmp_path / "mended.py").write_text(text.replace(LINE, LINE.replace("# ", "")).replace("my-method", "mended"))
    after = bench("check", "mended.py")
    assert after.code == 0
    assert "BROKEN" not in after.out
    assert "the contract holds" in after.out
    ran = bench("run", "--plugin", "mended.py", "--method", "mended", *SMALL, "--out", "runs", "--json")
    assert json.loads(ran.out)["status"] == "done"


@pytest.mark.parametrize("line", [LINE, LINE.replace("# ", "")])
def test_a_new_method_passes_ruff(bench: Bench, tmp_path: Path, line: str) -> None:
    bench("new-method", "a-rather-long-name-for-a-method")
    path, settings = tmp_path / "a_rather_long_name_for_a_method.py", Path(__file__).parents[3] / "pyproject.toml"
    path.write_text(path.read_text().replace(LINE, line))
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--config", str(settings), "--no-cache", str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert said.returncode == 0, said.stdout


def test_a_file_that_is_there_is_not_written_over(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("precious")
    refused(bench("new-method", "mine"), "mine.py already exists")
    assert (tmp_path / "mine.py").read_text() == "precious"


@pytest.mark.parametrize("name", ["Mine", "two words", "1st", "a_b", "../up", "class", "-x-", ""])
def test_what_is_no_name_is_refused(bench: Bench, tmp_path: Path, name: str) -> None:
    refused(bench("new-method", "--", name), "lower-case letters, digits and hyphens")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["head", "fedprox"])
def test_a_name_that_is_taken_is_refused(bench: Bench, name: str) -> None:
    refused(bench("new-method", name), "is taken")


def test_a_folder_that_is_not_there_is_named(bench: Bench) -> None:
    refused(bench("new-method", "mine", "--out", "nowhere"), "nowhere/mine.py cannot be written", "no such file")


def test_a_method_of_the_package_is_checked_by_name(bench: Bench) -> None:
    said = bench("check", "head", "--json")
    assert said.code == 0
    found = {row["check"]: row["state"] for row in json.loads(said.out)["head"]}
    assert found["learns"] == "ok"
    assert found["local_stays"] == "n/a"


def test_every_method_variant_and_plugin_of_a_file_is_checked(bench: Bench, tmp_path: Path) -> None:
    text = """
from fedprompt.methods.optimiser import Optimiser
from fedprompt.methods.head import Head
from fedprompt.methods.registry import register, register_optimiser

@register("first", paper="none", year=2026, family="head", variants={"same": {}})
class First(Head):
    "One."

@register_optimiser("still", paper="none", year=2026)
class Still(Optimiser):
    "Does nothing."
"""
    (tmp_path / "several.py").write_text(text)
    said = bench("check", "several.py", "--json")
    assert list(json.loads(said.out)) == ["first", "first:same", "head+still"]


def test_mistakes_of_use_are_two_lines_and_exit_code_2(bench: Bench, plugin: Callable[..., Path]) -> None:
    refused(bench("check", "no-such"), "unknown method 'no-such'")
    refused(bench("check", "no_such.py"), "no_such.py: there is no such file")
    refused(bench("check", plugin("empty", text="x = 1")), "registers no method")
    refused(bench("check", plugin("broken", text="1 / 0")), "ZeroDivisionError")


def test_checking_leaves_the_list_of_methods_as_it_was(bench: Bench) -> None:
    before = list(registry.METHODS)
    bench("check", "head")
    assert list(registry.METHODS) == before
