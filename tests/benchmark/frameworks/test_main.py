import json
import subprocess
import sys

import pytest

from fedprompt.benchmark.frameworks import __main__ as command
from fedprompt.benchmark.frameworks import compare, environments
from fedprompt.benchmark.frameworks.table import Row


def run(*words, folder):
    command = [sys.executable, "-m", "fedprompt.benchmark.frameworks", *words, "--out", str(folder / "out")]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=environments.PROJECT)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--frameworks", "flowr"),
            "error: --frameworks flowr: unknown (did you mean 'flower'?); available: ours, flower,",
        ),
        (("--python", "blazfl=python3"), "error: --python blazfl=python3: need NAME=FILE (did you mean 'blazefl'?)"),
        (("--python", "blazefl"), "error: --python blazefl: need NAME=FILE"),
        (("--python", "pfl=/no/python"), "error: --python pfl=/no/python: /no/python is no program"),
        (("--peers", ","), "error: --frameworks is empty; available: ours, flower,"),
        (("--clients", "ten"), "error: --clients ten: need integers of at least 2"),
        (("--clients", "5", "--cohort", "6"), "error: --cohort 6: there are 5 clients"),
        (("--backbone", "vit_tinny"), "error: unknown backbone 'vit_tinny'"),
        (("--rounds", "0"), "error: Invalid value for '--rounds': "),
    ],
)
def test_a_wrong_option_gives_one_line_and_exit_code_2(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["frameworks", *words, "--out", str(tmp_path / "out")])
    assert command._run() == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert len(error.splitlines()) == 1


@pytest.mark.slow
def test_the_table_is_printed_and_saved(tmp_path):
    small = ("--clients", "4", "--images", "6", "--tests", "3", "--cohort", "2", "--rounds", "2", "--seeds", "0")
    done = run(*small, "--frameworks", "plain", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == ["plain"]
    saved = (tmp_path / "out" / "peers.md").read_text()
    assert "| 4 | plain |" in saved
    assert str(tmp_path) not in (tmp_path / "out" / "peers.json").read_text()


def test_publish_writes_both_files_under_the_published_tables(tmp_path, monkeypatch):
    row = Row("plain", 100, 0, 2.0, 4.0, 45.0, 1_000_000_000, 1_000_000_000, 0.62)
    monkeypatch.setattr(compare, "compare", lambda *_: compare.Comparison([row], ["flower failed"]))
    monkeypatch.setattr(command, "PUBLISHED", tmp_path / "published")
    assert command.main(frameworks="plain", publish=True, out=tmp_path / "out") == 1  # one failure
    published = json.loads((tmp_path / "published" / "peers.json").read_text())
    assert [Row(**fields) for fields in published["rows"]] == [row]
    assert "| 100 | plain | 2.00 |" in (tmp_path / "published" / "peers.md").read_text()
    assert (tmp_path / "out" / "peers.md").exists()
