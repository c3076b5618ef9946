"""The standard streams of a command: safe text, and streams that are full, closed or without Unicode."""

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from fedprompt.benchmark.output import SafeStream, encodable, safe_output

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from fedprompt.benchmark import cli
cli._invoke = lambda words: print("90 \\xb11 \\u2020", flush=True) or print("progress", file=sys.stderr) or {code}
cli.main(["table"])
"""


class Failing(io.StringIO):
    """A stream on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")


def bench(redirections, code=0, **environment):
    """Runs a command that prints and ends with `code` in a shell; its redirections are those of the shell."""
    words = [sys.executable, "-c", PROGRAM.format(code=code)]
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirections}', "sh", *words],
        cwd=ROOT, capture_output=True, timeout=300, check=False, env=os.environ | environment,
    )  # fmt: skip


def test_text_is_escaped_and_lines_stay():
    stream = io.StringIO()
    print("a\x1b]0;x\x07\rb\tc\udcff\nd", file=SafeStream(stream))
    assert stream.getvalue() == "a\\x1b]0;x\\x07\\rb\tc\\udcff\nd\n"


def test_a_library_that_draws_on_the_terminal_may_use_control_characters():
    stream = io.StringIO()
    print("\x1b[1mbar\x1b[0m", file=SafeStream(stream).terminal)
    assert stream.getvalue() == "\x1b[1mbar\x1b[0m\n"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "90.1 ±2 † ↓↗ é"), ("ascii", "90.1 +-2 + v^ \\xe9"), ("latin-1", "90.1 +-2 + v^ é")],
)
def test_characters_that_an_encoding_lacks_become_ascii(encoding, shown):
    assert encodable("90.1 ±2 † ↓↗ é", encoding) == shown


def test_a_stream_that_fails_is_noted_and_ends_nothing():
    stream = SafeStream(Failing())
    print("lost", file=stream, flush=True)
    print("lost too", file=stream, flush=True)
    assert stream.error.errno == 28


def test_a_closed_stream_ends_nothing():
    closed = io.StringIO()
    closed.close()
    print("lost", file=SafeStream(closed), flush=True)


def test_the_streams_are_restored():
    before = sys.stdout, sys.stderr
    with suppress(ZeroDivisionError), safe_output():
        assert (sys.stdout, sys.stderr) != before
        raise ZeroDivisionError
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    ("redirections", "code", "out", "err"),
    [
        ("", 0, "90 ±1 †\n", "progress\n"),
        ("2>&-", 0, "90 ±1 †\n", ""),  # progress never lands on stdout
        ("2>/dev/full", 0, "90 ±1 †\n", ""),
        (">&-", 0, "", "progress\n"),
        (">&- 2>&- <&-", 0, "", ""),
        (">/dev/full", 1, "", "progress\nerror: standard output cannot be written: no space left on device.\n"),
    ],
)
def test_a_closed_or_full_stream_neither_ends_a_command_nor_mixes_with_another(redirections, code, out, err):
    answer = bench(redirections)
    assert (answer.returncode, answer.stdout.decode(), answer.stderr.decode()) == (code, out, err)


def test_the_exit_code_of_a_command_survives_a_full_stream():
    assert bench(">/dev/full", code=2).returncode == 2
    assert bench("2>/dev/full", code=1).returncode == 1


def test_without_unicode_the_output_is_ascii():
    answer = bench("", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (answer.returncode, answer.stdout) == (0, b"90 +-1 +\n")


def test_files_of_a_command_do_not_get_the_numbers_of_closed_streams(tmp_path):
    program = (
        "import json, os, sys; from fedprompt.benchmark.output import safe_output\n"
        "with safe_output():\n"
        f"    with open({str(tmp_path / 'file')!r}, 'w') as file: json.dump([file.fileno()], file)\n"
        "    os.write(2, b'foreign')"
    )
    subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", program], cwd=ROOT, check=True)
    assert json.loads((tmp_path / "file").read_text())[0] > 2
