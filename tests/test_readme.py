"""The commands and the example of the README work as written."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tools.render_published import MAIN, PUBLISHED, TEMPLATE, render

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = ["--seeds", "0", "--rounds", "1", "--participation", "0.1", "--workers", "1"]


def bench(arguments, place):
    """Run a `bench` command in a folder; return its exit code and output."""
    command = [sys.executable, "-m", "fedprompt.benchmark", *arguments]
    done = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.slow
def test_the_section_on_adding_a_method_works_as_written(tmp_path):
    section = README[README.index("## Add a method") : README.index("## Project layout")]
    blocks = re.findall(r"```(sh|python)\n(.*?)```", section, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "python", "sh"]
    commands = [line.partition("#") for kind, block in blocks if kind == "sh" for line in block.splitlines()]
    new, check_new, check_example, sweep = [
        (shlex.split(command)[1:], comment.strip()) for command, _, comment in commands
    ]
    (file,) = re.findall(r"Save this as `(\S+)`", section)
    (tmp_path / file).write_text(blocks[1][1])

    assert bench(new[0], tmp_path)[0] == 0
    path = tmp_path / new[1].removeprefix("writes ")
    code, output = bench(check_new[0], tmp_path)
    assert code == 1
    reason = check_new[1].removeprefix("BROKEN: ").partition(";")[0]
    assert re.search(rf"BROKEN .*{reason}", output), output
    commented_out = re.compile(r"^( *)# (x = .*insert_after_cls.*)$", re.MULTILINE)
    path.write_text(commented_out.sub(r"\1\2", path.read_text()))
    assert bench(check_new[0], tmp_path)[0] == 0

    code, output = bench(check_example[0], tmp_path)
    assert code == 0
    assert check_example[1] in output
    code, output = bench([*sweep[0], *SMALL], tmp_path)
    assert code == 0, output
    assert "my-method" in output


def test_the_readme_is_its_template_with_the_numbers_of_the_published_runs():
    again = render(PUBLISHED / MAIN, ROOT / TEMPLATE)
    assert again == README, "run python tools/render_published.py"


def test_the_first_screen_has_the_two_commands():
    first_screen = README[: README.index("![Accuracy of seen clients")]
    assert "pip install -e . && bench sweep --methods all --alpha 0.05,0.5\n" in first_screen
    assert 'pip install -e ".[test]" && pytest\n' in first_screen
