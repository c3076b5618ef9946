"""Flower: `flwr run` with a local simulation, as its documentation recommends.

`flwr run` starts a SuperLink on this machine, which runs the app in Flower's simulation runtime: Ray actors, one per
processor (`client-resources-num-cpus` is 1). Settings, database and installed app stay in the folder of the job. The
run contacts no other machine: telemetry, the search for updates and the installation of packages are switched off.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.outcome import Outcome

RESULT = "flower.outcome.json"
OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
PORTS = ("FLWR_LOCAL_SUPERLINK_HTTP_API_PORT", "FLWR_LOCAL_CONTROL_API_PORT")
PROJECT = """\
[project]
name = "fedprompt-job"
version = "1.0.0"
description = "The job of a comparison of frameworks"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "fedprompt"

[tool.flwr.app.components]
serverapp = "apps:server_app"
clientapp = "apps:client_app"

[tool.flwr.app.config]
job = {job}
"""
APPS = """\
\"\"\"The apps of the comparison; Flower looks for assignments in this file.\"\"\"

from fedprompt.benchmark.frameworks.flower import app

client_app = app.client_app
server_app = app.server_app
"""


def run(path: Path) -> Outcome:
    """Runs all rounds of the job in the file `path`.

    Raises:
        SystemExit: The run failed; Flower has printed why.
    """
    job, home, result = Job.read(path), path.with_name("flower"), path.with_name(RESULT)
    shutil.rmtree(home, ignore_errors=True)
    result.unlink(missing_ok=True)
    federation = {
        "num-supernodes": len(job.train),
        "client-resources-num-cpus": 1,
        "init-args-num-cpus": job.threads,
    }
    commands = Path(sys.executable).parent  # `flwr` starts `flower-superlink`, which starts others
    command = [str(commands / "flwr"), "run", str(_project(home / "app", path)), "local", "--stream"]
    command += ["--federation-config", " ".join(f"{name}={value}" for name, value in federation.items())]
    environment = {"FLWR_HOME": str(home), "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(command, env=os.environ | OFFLINE | _free_ports() | environment, check=False)
    if not result.is_file():  # the exit code of `flwr run` says only whether the run was started
        sys.exit(1)
    return Outcome.read(result)


def _project(folder: Path, job: Path) -> Path:
    """Writes the folder of a Flower app that runs a job; returns the folder."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT.format(job=json.dumps(str(job))), encoding="utf-8")
    (folder / "apps.py").write_text(APPS, encoding="utf-8")
    return folder


def _free_ports() -> dict[str, str]:
    """Returns ports for the SuperLink, so that one that is already running is not used."""
    sockets = [socket.socket() for _ in PORTS]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [str(opened.getsockname()[1]) for opened in sockets]
    for opened in sockets:
        opened.close()
    return dict(zip(PORTS, ports, strict=True))
