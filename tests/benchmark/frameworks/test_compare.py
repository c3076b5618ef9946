import sys

import pytest

from fedprompt.benchmark.frameworks import compare, environments
from fedprompt.benchmark.frameworks.environments import Environments
from fedprompt.benchmark.frameworks.interpreters import UnavailableError
from fedprompt.benchmark.frameworks.outcome import Outcome

from .conftest import PLAN

ENVIRONMENTS = Environments(environments.PROJECT / "runs" / "peers" / "environments")


@pytest.mark.slow
def test_a_framework_without_an_environment_is_reported_and_the_others_run(tmp_path, monkeypatch):
    original = Environments.python

    def python(self, framework):
        if framework == "flower":
            raise UnavailableError("no network")
        return original(self, framework)

    monkeypatch.setattr(Environments, "python", python)
    places = Environments(tmp_path / "environments")
    result = compare.compare(PLAN, [4], [0], ["ours", "flower", "plain"], tmp_path, places)
    assert result.failures == ["no network"]
    assert [(row.framework, row.seed) for row in result.rows] == [("ours", 0), ("plain", 0)]
    for row in result.rows:
        assert 0 < row.round_seconds < row.job_seconds
        assert row.peak_bytes is None or row.peak_bytes > 50_000_000  # torch alone is more


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the interpreter")
def test_a_failed_framework_is_reported_with_its_error_and_log(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'ValueError: 1 client' >&2\necho done >&2\nexit 1\n")
    python.chmod(0o700)
    message = compare.measure("plain", python, tmp_path / "job.json", 4, 0, 1)
    log = tmp_path / "plain.log"
    assert message == f"plain failed with 4 clients and seed 0: ValueError: 1 client (full output: {log})"


@pytest.mark.slow
def test_an_unreadable_job_is_reported(job_file, tmp_path):
    broken = tmp_path / "job.json"
    broken.write_text(job_file.read_text().replace('"train_x', '"').replace('"lr": 0.05', '"lr": "fast"'))
    message = compare.measure("plain", Environments(tmp_path).python("plain"), broken, 4, 0, 1)
    assert isinstance(message, str)
    assert message.startswith("plain failed with 4 clients and seed 0: TypeError: ")
    assert str(tmp_path / "plain.log") in message


@pytest.mark.parametrize("framework", ["blazefl", "flower", "pfl"])
def test_each_framework_learns_the_same_as_the_plain_loop(framework, job_file):
    if not (ENVIRONMENTS.folder / framework / environments.STAMP).is_file():
        pytest.skip(
            f"no environment of {framework} in runs/peers; `python -m fedprompt.benchmark.frameworks` creates it"
        )
    rows = {name: compare.measure(name, ENVIRONMENTS.python(name), job_file, 4, 0, 2) for name in (framework, "plain")}
    assert not [row for row in rows.values() if isinstance(row, str)]
    outcomes = {name: Outcome.read(job_file.with_name(f"{name}.json")) for name in rows}
    assert len(outcomes[framework].marks) == len(outcomes["plain"].marks) == 4
    assert outcomes[framework].accuracy == pytest.approx(outcomes["plain"].accuracy, abs=1 / 12)
    if outcomes[framework].losses:  # pfl records none
        assert outcomes[framework].losses == pytest.approx(outcomes["plain"].losses, abs=1e-3)


def test_all_seeds_run_at_the_first_number_of_clients_and_the_first_seed_at_the_others(tmp_path, monkeypatch):
    ran: list[tuple[int, int]] = []

    def measure(framework, python, job, clients, seed, threads):
        ran.append((clients, seed))
        return f"{framework} failed"

    monkeypatch.setattr(compare, "measure", measure)
    result = compare.compare(PLAN, [4, 6], [7, 8], ["plain"], tmp_path, Environments(tmp_path))
    assert ran == [(4, 7), (4, 8), (6, 7)]
    assert result.failures == ["plain failed"] * 3
