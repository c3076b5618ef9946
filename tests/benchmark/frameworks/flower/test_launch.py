import json
import os
import sys
import tomllib

import pytest

from fedprompt.benchmark.frameworks import flower
from fedprompt.benchmark.frameworks.outcome import Outcome

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script stands for flwr")
FLWR = """\
#!{python}
import json, os, pathlib, sys
names = ("FLWR_HOME", "PATH", *{names})
call = {{"words": sys.argv[1:], "environment": {{name: os.environ[name] for name in names}}}}
pathlib.Path({call!r}).write_text(json.dumps(call))
if {succeeds}:
    result = {{"marks": [1.0, 2.0], "accuracy": 0.5, "losses": [], "facts": {{}}}}
    pathlib.Path({result!r}).write_text(json.dumps(result))
"""


@pytest.fixture
def launch(job_file, tmp_path, monkeypatch):
    """Runs a job with a program in place of `flwr`; returns the outcome and how the program was called."""
    job, commands, call = tmp_path / "job.json", tmp_path / "bin", tmp_path / "call.json"
    job.write_bytes(job_file.read_bytes())

    def run(succeeds=True):
        commands.mkdir()
        names = (*flower.OFFLINE, *flower.PORTS)
        result = str(job.with_name(flower.RESULT))
        script = FLWR.format(python=sys.executable, names=names, call=str(call), succeeds=succeeds, result=result)
        (commands / "flwr").write_text(script)
        (commands / "flwr").chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(commands / "python"))
        return flower.run(job), json.loads(call.read_text())

    return run


def test_the_app_has_the_job_and_one_node_per_client(launch, tmp_path):
    outcome, call = launch()
    assert outcome == Outcome([1.0, 2.0], 0.5)
    command, app, connection, *rest = call["words"]
    assert (command, connection) == ("run", "local")
    settings = rest[rest.index("--federation-config") + 1].split()
    assert settings == ["num-supernodes=4", "client-resources-num-cpus=1", "init-args-num-cpus=1"]
    assert "--stream" in rest  # without it, `flwr run` would return at once
    with open(os.path.join(app, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)
    assert project["tool"]["flwr"]["app"]["config"] == {"job": str(tmp_path / "job.json")}
    assert os.path.isfile(os.path.join(app, "apps.py"))


def test_flower_runs_offline_in_the_folder_of_the_job_beside_other_superlinks(launch, tmp_path):
    environment = launch()[1]["environment"]
    assert environment["FLWR_TELEMETRY_ENABLED"] == "0"
    assert environment["FLWR_DISABLE_UPDATE_CHECK"] == "1"
    assert environment["FLWR_HOME"] == str(tmp_path / "flower")
    assert environment["PATH"].split(os.pathsep)[0] == str(tmp_path / "bin")
    ports = {int(environment[name]) for name in flower.PORTS}
    assert len(ports) == 2
    assert not ports & {39091, 39093}  # the defaults


def test_a_run_without_a_result_fails_and_an_old_result_is_not_used(launch, tmp_path):
    (tmp_path / flower.RESULT).write_text("{}")
    with pytest.raises(SystemExit) as caught:
        launch(succeeds=False)
    assert caught.value.code == 1
