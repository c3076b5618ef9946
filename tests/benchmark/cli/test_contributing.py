import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedprompt.methods import registry
from tests.benchmark.conftest import SMALL, refused

LINE = "        # x = prompts.insert_after_cls("


@pytest.fixture(autouse=True)
def _temporary_registry(plugin):
    """What a test registers is removed after it."""


def test_new_method_fails_the_check_until_its_marked_line_is_uncommented(bench, tmp_path):
    bench.ok("new-method", "my-method")
    before = bench("check", "my_method.py")
    assert before.code == 1
    assert "BROKEN" in before.out
    assert "the loss does not use prompt" in before.out
    text = (tmp_path / "my_method.py").read_text()
    assert text.count(LINE) == 1
    (tmp_path / "completed.py").write_text(text.replace(LINE, LINE.replace("# ", "")).replace("my-method", "completed"))
    after = bench.ok("check", "completed.py")
    assert "BROKEN" not in after.out
    assert "all checks passed" in after.out
    ran = bench("run", "--plugin", "completed.py", "--method", "completed", *SMALL, "--out", "runs", "--json")
    assert json.loads(ran.out)["status"] == "done"


@pytest.mark.parametrize("line", [LINE, LINE.replace("# ", "")])
def test_new_method_passes_ruff(bench, tmp_path, line):
    bench("new-method", "a-rather-long-name-for-a-method")
    path, settings = tmp_path / "a_rather_long_name_for_a_method.py", Path(__file__).parents[3] / "pyproject.toml"
    path.write_text(path.read_text().replace(LINE, line))
    for words in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--config", str(settings), "--no-cache", str(path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stdout


def test_new_method_does_not_overwrite_a_file(bench, tmp_path):
    (tmp_path / "mine.py").write_text("precious")
    refused(bench("new-method", "mine"), "mine.py already exists")
    assert (tmp_path / "mine.py").read_text() == "precious"


@pytest.mark.parametrize("name", ["Mine", "two words", "1st", "a_b", "../up", "class", "-x-", ""])
def test_new_method_refuses_an_invalid_name(bench, tmp_path, name):
    refused(bench("new-method", "--", name), "lower-case letters, digits and hyphens")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["head", "fedprox"])
def test_new_method_refuses_a_registered_name(bench, name):
    refused(bench("new-method", name), "is taken")


def test_new_method_names_a_missing_folder(bench):
    refused(bench("new-method", "mine", "--out", "nowhere"), "nowhere/mine.py cannot be written", "no such file")


def test_check_takes_the_name_of_a_method(bench):
    answer = bench.ok("check", "head", "--json")
    found = {row["check"]: row["state"] for row in json.loads(answer.out)["head"]}
    assert found["learns"] == "ok"
    assert found["local_stays"] == "n/a"


def test_check_covers_every_method_variant_and_optimiser_of_a_file(bench, tmp_path):
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
    answer = bench("check", "several.py", "--json")
    assert list(json.loads(answer.out)) == ["first", "first:same", "head+still"]


def test_check_refuses_unknown_methods_and_invalid_files(bench, plugin):
    refused(bench("check", "no-such"), "unknown method 'no-such'")
    refused(bench("check", "no_such.py"), "no_such.py: file not found")
    refused(bench("check", plugin("empty", text="x = 1")), "registers no method")
    refused(bench("check", plugin("broken", text="1 / 0")), "ZeroDivisionError")


def test_check_does_not_change_the_registry(bench):
    before = list(registry.METHODS)
    bench("check", "head")
    assert list(registry.METHODS) == before
