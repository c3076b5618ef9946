"""The blocks of the tutorial run as written, in order, in one empty folder."""

import multiprocessing
import os
import re
import subprocess
import sys

import pytest

from fedprompt.benchmark.cli import main
from tests.docs.markdown import ROOT, blocks, commands

TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
WORD = re.compile(r"[a-zA-Z][\w-]*")
FRESH = multiprocessing.get_context("forkserver")
"""Runs each command in its own process, forked from one that has only done the slow imports."""
FRESH.set_forkserver_preload(
    [
        "fedprompt.benchmark.runs.execute",
        "fedprompt.benchmark.contract.check",
        "ray",
        "pandas",
        "fedprompt.results.figures.drawing",
    ]
)


def run(block, place):
    """Run a shell or Python block in a folder and return its output; save a block with a title as that file."""
    if block.title:
        (place / block.title).write_text(block.text)
        return ""
    if block.language == "python":
        done = subprocess.run(
            [sys.executable, "-c", block.text],
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        code, output = done.returncode, done.stdout
    else:
        answers = [bench([expanded(word, place) for word in words], place) for words in commands(block.text)]
        code, output = max(code for code, _ in answers), "".join(text for _, text in answers)
    assert code == block.code, f"line {block.line} of the tutorial:\n{block.text}\n{output}"
    return output


def expanded(word, place):
    """A word of a command, `$(cat FILE)` replaced by the text of that file."""
    file = re.fullmatch(r"\$\(cat (\S+)\)", word)
    return (place / file[1]).read_text(encoding="utf-8").strip() if file else word


def bench(words, place):
    """Run a `bench` command in a folder; return its exit code and output."""
    assert words[0] == "bench", f"only bench commands and Python are run: {words}"
    log = place / "output.txt"
    process = FRESH.Process(target=_in_folder, args=(words[1:], place, log))
    process.start()
    process.join()
    return process.exitcode or 0, log.read_text(encoding="utf-8")


def _in_folder(words, place, log):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(place)
    main(words)


@pytest.mark.slow
@pytest.mark.serial
def test_every_block_runs_and_prints_the_output_shown(tmp_path):
    output = ""
    for block in blocks(TEXT):
        if block.language == "text":
            missing = set(WORD.findall(block.text)) - set(WORD.findall(output))
            assert not missing, f"line {block.line} of the tutorial shows {missing}; the output is:\n{output}"
        elif not block.skipped:
            output = run(block, tmp_path)
    runs = tmp_path / "runs"
    assert (runs / "first" / "report.html").is_file()
    assert {"accuracy_over_rounds.png", "seen_and_held_out.png"} <= {p.name for p in (runs / "first/figures").iterdir()}
    assert (runs / "tuning" / "tuned.yaml").is_file()
    assert len(list(tmp_path.glob("npz*.png"))) == 1


def test_only_two_blocks_are_skipped_each_with_a_reason():
    found = blocks(TEXT)
    assert {block.language for block in found} == {"sh", "python", "text"}
    skipped = [block for block in found if block.skipped]
    assert len(skipped) == 2
    for block in found:
        assert block.comment in ("", f"<!-- not run: {block.skipped} -->", f"<!-- exits with {block.code} -->")
