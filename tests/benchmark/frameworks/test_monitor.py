import sys
from pathlib import Path

import pytest

from fedprompt.benchmark.frameworks import monitor as watch

linux = pytest.mark.skipif(not watch.PROC.is_dir(), reason="memory is read from /proc")


def python(tmp_path: Path, code: str, **settings: str) -> watch.Watched:
    return watch.run([sys.executable, "-c", code], tmp_path / "log", settings)


def test_output_goes_to_the_log_and_the_exit_code_comes_back(tmp_path: Path) -> None:
    watched = python(tmp_path, "import os, sys; print(os.environ['TOLD']); sys.exit(3)", TOLD="this")
    assert watched.code == 3
    assert (tmp_path / "log").read_text() == "this\n"


@linux
def test_memory_counts_the_children_too(tmp_path: Path) -> None:
    hold = "import time; held = b'x' * 100_000_000; time.sleep(3)"
    both = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {hold!r}]); {hold}; child.wait()"
    watched = python(tmp_path, both)
    assert watched.pss is not None
    assert watched.rss is not None
    assert 200_000_000 < watched.pss <= watched.rss


@linux
def test_a_child_in_a_session_of_its_own_does_not_outlive_the_run(tmp_path: Path) -> None:
    leave = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    python(tmp_path, leave)
    left = watch.PROC / (tmp_path / "log").read_text().strip() / "cmdline"
    assert not left.exists() or left.read_bytes() == b""  # a zombie waits to be reaped, but runs no more
