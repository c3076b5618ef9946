"""A sweep as a Ray job, on a head node started by `ray start`."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from fedprompt.benchmark.runs.store import Store
from tests.chaos.processes import ROOT, until

pytestmark = pytest.mark.chaos
RAY = Path(sys.executable).with_name("ray")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
SMALL = ("--rounds", "1", "--participation", "0.1", "--eval-every", "1")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def head():
    """The address of the job server of a cluster with one processor, separate from any other Ray here."""
    folder, dashboard = tempfile.mkdtemp(prefix="ray-"), free_port()  # a short path, as it contains Ray's sockets
    ports = {"port": free_port(), "dashboard-port": dashboard, "dashboard-agent-listen-port": free_port()}
    ports["ray-client-server-port"] = free_port()
    words = [f"--{name}={port}" for name, port in ports.items()]
    process = subprocess.Popen(
        [RAY, "start", "--head", "--block", "--num-cpus=1", f"--temp-dir={folder}", "--disable-usage-stats", *words],
        env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def is_ready():
        assert process.poll() is None, "ray start has ended"
        try:
            with urlopen(f"http://127.0.0.1:{dashboard}/api/version", timeout=5) as response:
                return bool(response.status == 200)
        except (URLError, OSError):
            return False

    until(is_ready)
    yield f"http://127.0.0.1:{dashboard}"
    process.terminate()
    process.wait(timeout=60)
    shutil.rmtree(folder, ignore_errors=True)


def submitted(head, *words):
    """Submits a sweep as a job, and waits for its end."""
    sweep = [sys.executable, "-m", "fedprompt.benchmark", "sweep", *map(str, words), "--address", "auto"]
    command = [RAY, "job", "submit", "--address", head, "--", *sweep]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=240)


def test_a_sweep_runs_as_a_ray_job_and_the_same_submission_resumes_it(head, tmp_path):
    words = ("--methods", "head,fedvpt", "--seeds", "0,1", *SMALL, "--out", tmp_path / "runs")
    first = submitted(head, *words)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "4 runs, 0 already done" in first.stdout
    assert [entry.status for entry in Store(tmp_path / "runs").entries()] == ["done"] * 4
    again = submitted(head, *words)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "4 runs, 4 already done" in again.stdout


def test_the_exit_code_of_a_job_reports_a_rejected_sweep(head, tmp_path):
    said = submitted(head, "--methods", "heads", *SMALL, "--out", tmp_path / "runs")
    assert said.returncode != 0
    assert "error: " in said.stdout
    assert not (tmp_path / "runs").exists()
