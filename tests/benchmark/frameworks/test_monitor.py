import sys

import psutil
import pytest

from fedprompt.benchmark.frameworks import monitor

linux = pytest.mark.skipif(not psutil.LINUX, reason="memory is measured only on Linux")


def python(tmp_path, code, **settings):
    return monitor.run([sys.executable, "-c", code], tmp_path / "log", settings)


def test_output_is_written_to_the_log_and_the_exit_code_returned(tmp_path):
    usage = python(tmp_path, "import os, sys; print(os.environ['EXTRA']); sys.exit(3)", EXTRA="this")
    assert usage.code == 3
    assert (tmp_path / "log").read_text() == "this\n"


@linux
def test_memory_includes_child_processes(tmp_path):
    allocate = "import time; data = b'x' * 100_000_000; time.sleep(3)"
    start = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {allocate!r}])"
    usage = python(tmp_path, f"{start}; {allocate}; child.wait()")
    assert usage.pss is not None
    assert usage.rss is not None
    assert 200_000_000 < usage.pss <= usage.rss


@linux
def test_a_child_in_another_session_is_killed(tmp_path):
    leave = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    python(tmp_path, leave)
    pid = int((tmp_path / "log").read_text())
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
