import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmark import attempt
from benchmark import sweep as module
from benchmark.attempt import Job, guarded
from benchmark.config import RunConfig
from benchmark.errors import ConfigError
from benchmark.runner import Record, failed
from benchmark.store import Store
from benchmark.sweep import Tally, preflight, run_all
from benchmark.terms import Terms
from benchmark.watch import Silent
from results import figures
from tests.benchmark.conftest import SMALL, Bench, configs


class Witness(Silent):
    """A watcher that writes down what it is told."""

    def __init__(self, store: Store) -> None:
        self.store, self.rounds, self.runs, self.notes = store, list[tuple[str, int, int]](), list[str](), list[str]()

    def round_done(self, run_id: str, number: int, images: int = 0, where: str = "") -> None:
        self.rounds.append((run_id, number, images))

    def run_done(self, run_id: str, result: Mapping[str, Any]) -> None:
        assert self.store.entry(run_id) is not None, "a run is told of when it is in the store"
        self.runs.append(run_id)

    def note(self, text: str) -> None:
        self.notes.append(text)


def fake(config: RunConfig, threads: int, progress: Callable[[int, int], None], halvings: int) -> Record:
    """A run in no time; that of seed 1 fails."""
    progress(1, 32)
    if config.seed == 1:
        raise ZeroDivisionError("seed 1")
    return replace(failed(config, ""), result=failed(config, "").result | {"status": "done", "error": None})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    store.prepare()
    return store


def test_a_run_that_fails_is_written_down_and_the_others_go_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt, "execute", fake)
    runs = configs(seeds=(0, 1, 2))
    witness = Witness(store)
    assert run_all(runs, store, Terms(1), witness) == Tally(failed=1)
    assert witness.runs == [run.run_id for run in runs]
    assert witness.rounds == [(run.run_id, *news) for run in runs for news in ((0, 0), (1, 32))]
    statuses = {run.seed: store.entry(run.run_id) for run in runs}
    assert [entry.status for entry in statuses.values() if entry] == ["done", "failed", "done"]
    assert statuses[1] is not None
    assert statuses[1].result["error"] == "ZeroDivisionError: seed 1"
    log = (store.directory / runs[1].run_id / "log.txt").read_text()
    assert "Traceback" in log
    assert "in fake" in log
    assert store.pending(runs) == [runs[1]]


def test_each_run_is_written_as_soon_as_it_ends(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def peek(config: RunConfig, *rest: Any) -> Record:
        seen.append(len(store.entries()))
        return fake(config, *rest)

    monkeypatch.setattr(attempt, "execute", peek)
    run_all(configs(seeds=(0, 2, 3)), store, Terms(1), Witness(store))
    assert seen == [0, 1, 2]


def test_an_interruption_is_no_failed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> Record:
        raise KeyboardInterrupt

    monkeypatch.setattr(attempt, "execute", interrupt)
    with pytest.raises(KeyboardInterrupt):
        guarded(Job(configs()[0]), 1, lambda *_: None)


def test_each_distinct_job_is_set_up_once_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, float | None]] = []
    monkeypatch.setattr(module, "simulator", lambda config: tried.append((config.method, config.alpha)))
    preflight(configs(methods=("head", "fedvpt"), alpha=(0.1, 1.0), seeds=(0, 1, 2)))
    assert sorted(tried) == [("fedvpt", 0.1), ("fedvpt", 1.0), ("head", 0.1), ("head", 1.0)]


def test_a_mistake_in_the_last_job_shows_before_the_first_runs() -> None:
    with pytest.raises(ConfigError, match="no such file"):
        preflight([*configs(), configs()[0].model_copy(update={"method": "fedvpt", "checkpoint": "absent.pt"})])


BODY = """def logits(self, vit, batch, state):
        if batch.labels.requires_grad is False:
            {action}
"""


# Ray 2.5x warns of a default of its own that will change, and leaves sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray", "ignore:.*:DeprecationWarning:ray")
def test_workers_of_ray_do_what_this_process_does_and_one_that_dies_is_a_failed_run(
    bench: Bench, plugin: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "draw", lambda *_, **__: [])  # of no interest here, and slow
    raises = plugin("raises", BODY.format(action="raise ArithmeticError('on purpose')"))
    dies = plugin("dies", BODY.format(action="import os; os._exit(1)"))
    grid = ("--seed", 0, *SMALL)
    own = ("--plugin", raises, "--plugin", dies)
    many = bench(
        "sweep", "--methods", "head,pep-fedpt,raises,dies", *own, "--workers", 2, "--retries", 0, "--out", "ray", *grid
    )
    assert many.code == 1, many.err
    assert "2 runs failed" in many.err
    one = bench("sweep", "--methods", "head,pep-fedpt", "--workers", 1, "--out", "here", *grid)
    assert one.code == 0, one.err

    results = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "ray").glob("*/result.json")}
    errors = {r["method"]: r["error"] for r in results.values() if r["status"] == "failed"}
    assert errors.keys() == {"raises", "dies"}
    assert errors["raises"] == "ArithmeticError: on purpose"
    assert "\n" not in errors["dies"]
    assert len(results) == 4
    same = [path.parent.name for path in (tmp_path / "here").glob("*/result.json")]
    assert len(same) == 2
    for run_id in same:
        ray, here = (tmp_path / place / run_id for place in ("ray", "here"))
        expected = json.loads((here / "result.json").read_text())
        for key in ("status", "metrics", "metrics_prior", "communication", "parameters", "never_trained", "federation"):
            assert results[run_id][key] == expected[key]
        settings = [json.loads((place / "config.json").read_text()) | {"plugins": None} for place in (ray, here)]
        assert settings[0] == settings[1]
        rounds = [pd.read_parquet(place / "rounds.parquet").drop(columns="seconds") for place in (ray, here)]
        pd.testing.assert_frame_equal(*rounds, check_exact=True)
        clients = [pd.read_parquet(place / "clients.parquet").to_dict("records") for place in (ray, here)]
        for a, b in zip(*clients, strict=True):
            assert a.pop("class_counts").tolist() == b.pop("class_counts").tolist()
            assert all(a[k] == b[k] or (math.isnan(a[k]) and math.isnan(b[k])) for k in a)
