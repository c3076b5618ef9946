from pathlib import Path

import pytest

from fedprompt.benchmark.frameworks import compare, environments
from fedprompt.benchmark.frameworks.environments import UnavailableError
from fedprompt.benchmark.frameworks.outcome import Outcome

from .conftest import PLAN

ENVIRONMENTS = environments.PROJECT / "runs" / "peers" / "environments"


def test_a_peer_without_an_environment_is_a_fault_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = environments.python

    def python(peer: str, folder: Path) -> Path:
        if peer == "flower":
            raise UnavailableError("the environment of flower could not be made")
        return real(peer, folder)

    monkeypatch.setattr(environments, "python", python)
    found = compare.compare(PLAN, [4], [0], ["ours", "flower", "plain"], tmp_path)
    assert found.faults == ["the environment of flower could not be made"]
    assert [(row.peer, row.seed) for row in found.rows] == [("ours", 0), ("plain", 0)]
    for row in found.rows:
        assert 0 < row.round_seconds < row.job_seconds
        assert row.peak_bytes is None or row.peak_bytes > 50_000_000  # torch alone is more


def test_a_contestant_that_fails_is_told_with_its_own_last_words(job_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "job.json"
    broken.write_text(job_file.read_text().replace('"train_x', '"').replace('"lr": 0.05', '"lr": "fast"'))
    said = compare.measure("plain", environments.python("plain", tmp_path), broken, 4, 0, 1)
    assert isinstance(said, str)
    assert said.startswith("plain failed with 4 clients and seed 0: TypeError: ")
    assert str(tmp_path / "plain.log") in said


@pytest.mark.parametrize("peer", ["flower", "pfl"])
def test_a_peer_learns_what_the_plain_way_learns(peer: str, job_file: Path) -> None:
    if not (ENVIRONMENTS / peer / environments.STAMP).is_file():
        pytest.skip(
            f"there is no environment of {peer} in runs/peers; `python -m fedprompt.benchmark.frameworks` makes it"
        )
    rows = {
        name: compare.measure(name, environments.python(name, ENVIRONMENTS), job_file, 4, 0, 2)
        for name in (peer, "plain")
    }
    assert not [row for row in rows.values() if isinstance(row, str)]
    outcomes = {name: Outcome.read(job_file.with_name(f"{name}.json")) for name in rows}
    assert len(outcomes[peer].marks) == len(outcomes["plain"].marks) == 4
    assert outcomes[peer].accuracy == pytest.approx(outcomes["plain"].accuracy, abs=1 / 12)
    if outcomes[peer].losses:  # pfl keeps none
        assert outcomes[peer].losses == pytest.approx(outcomes["plain"].losses, abs=1e-3)


def test_all_seeds_run_at_the_first_number_of_clients_and_the_first_seed_at_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[int, int]] = []

    def measure(peer: str, python: Path, job: Path, clients: int, seed: int, threads: int) -> str:
        ran.append((clients, seed))
        return f"{peer} failed"

    monkeypatch.setattr(compare, "measure", measure)
    found = compare.compare(PLAN, [4, 6], [7, 8], ["plain"], tmp_path)
    assert ran == [(4, 7), (4, 8), (6, 7)]
    assert found.faults == ["plain failed"] * 3
