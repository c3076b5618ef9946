"""The tutorial does what it says: its blocks run as they stand, in their order, in one empty folder."""

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

from fedprompt.benchmark.cli import main
from tests.docs.markdown import ROOT, Block, blocks, commands

TEXT = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
WORD = re.compile(r"[a-zA-Z][\w-]*")
FRESH = multiprocessing.get_context("forkserver")
"""Each command is a process of its own, forked from one that has the slow imports behind it and nothing more."""
FRESH.set_forkserver_preload(
    [
        "fedprompt.benchmark.runs.execute",
        "fedprompt.benchmark.contract.check",
        "ray",
        "pandas",
        "fedprompt.results.figures.drawing",
    ]
)


def run(block: Block, place: Path) -> str:
    """Runs a shell or Python block in a folder and returns its output; a block with a title becomes that file."""
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
        answers = [bench(words, place) for words in commands(block.text)]
        code, output = max(code for code, _ in answers), "".join(text for _, text in answers)
    assert code == block.code, f"line {block.line} of the tutorial:\n{block.text}\n{output}"
    return output


def bench(words: list[str], place: Path) -> tuple[int, str]:
    """The exit code and the output of a `bench` command in a folder."""
    assert words[0] == "bench", f"only bench commands and Python are run: {words}"
    said = place / "output.txt"
    process = FRESH.Process(target=_in_folder, args=(words[1:], place, said))
    process.start()
    process.join()
    return process.exitcode or 0, said.read_text(encoding="utf-8")


def _in_folder(words: list[str], place: Path, said: Path) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.chdir(place)
    main(words)


def test_every_block_runs_and_prints_what_the_text_shows(tmp_path: Path) -> None:
    output = ""
    for block in blocks(TEXT):
        if block.language == "text":
            missing = set(WORD.findall(block.text)) - set(WORD.findall(output))
            assert not missing, f"line {block.line} of the tutorial shows {missing}, but this came:\n{output}"
        elif not block.skipped:
            output = run(block, tmp_path)
    runs = tmp_path / "runs"
    assert (runs / "first" / "report.html").is_file()
    assert {"accuracy_over_rounds.png", "seen_and_held_out.png"} <= {p.name for p in (runs / "first/figures").iterdir()}
    assert (runs / "tuning" / "tuned.yaml").is_file()
    assert len(list(tmp_path.glob("npz*.png"))) == 1


def test_what_is_not_run_is_little_and_says_why() -> None:
    found = blocks(TEXT)
    assert {block.language for block in found} == {"sh", "python", "text"}
    skipped = [block for block in found if block.skipped]
    assert len(skipped) == 2
    for block in found:
        assert block.comment in ("", f"<!-- not run: {block.skipped} -->", f"<!-- exits with {block.code} -->")
