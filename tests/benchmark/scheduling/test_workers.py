"""Runs in processes of their own, on Ray and in the local pool: equal results, killed workers, resumed runs."""

import itertools
import json
import math

import pandas as pd
import pytest

from fedprompt.results.figures import drawing as figures
from tests.benchmark.conftest import SMALL

BODY = """def logits(self, vit, batch, state):
        if batch.labels.requires_grad is False:
            {action}
"""


# Ray warns of a future change of a default, and leaves sockets to the garbage collector.
@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray", "ignore:.*:DeprecationWarning:ray")
def test_workers_have_the_results_of_this_process_and_a_killed_one_is_a_failed_run(
    bench, plugin, tmp_path, monkeypatch
):
    monkeypatch.setattr(figures, "draw", lambda *_, **__: [])  # slow, and not tested here
    raises = plugin("raises", BODY.format(action="print('about to raise'); raise ArithmeticError('on purpose')"))
    dies = plugin("dies", BODY.format(action="import os; os._exit(1)"))
    grid = ("--seed", 0, *SMALL)
    own = ("--plugin", raises, "--plugin", dies)
    many = bench(
        "sweep", "--methods", "head,pep-fedpt,raises,dies", *own, "--workers", 2, "--retries", 0, "--out", "ray", *grid
    )
    assert many.code == 1, many.err
    assert "2 runs failed" in many.err
    bench.ok("sweep", "--methods", "head,pep-fedpt", "--workers", 1, "--out", "here", *grid)

    results = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "ray").glob("*/result.json")}
    errors = {r["method"]: r["error"] for r in results.values() if r["status"] == "failed"}
    assert errors.keys() == {"raises", "dies"}
    assert errors["raises"] == "ArithmeticError: on purpose"
    assert "\n" not in errors["dies"]
    kinds = {r["method"]: r["error_kind"] for r in results.values()}
    assert kinds == {"head": None, "pep-fedpt": None, "raises": "exception", "dies": "worker_killed"}
    (failure,) = (r["run_id"] for r in results.values() if r["method"] == "raises")
    log = (tmp_path / "ray" / failure / "log.txt").read_text()
    assert "about to raise\n" in log
    assert "Traceback" in log
    assert len(results) == 4
    bench.ok("sweep", "--methods", "head,pep-fedpt", "--workers", 2, "--local", "--out", "local", *grid)
    same = [path.parent.name for path in (tmp_path / "here").glob("*/result.json")]
    assert len(same) == 2
    for run_id, place in itertools.product(same, ("here", "local")):
        ray, here = (tmp_path / pool / run_id for pool in ("ray", place))
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


ONCE = """def logits(self, vit, batch, state):
        from pathlib import Path
        if batch.phase is not None:
            steps = Path(r"{steps}")
            taken = int(steps.read_text()) if steps.exists() else 0
            steps.write_text(str(taken + 1))
            if taken == {dies_at}:
                import os, time
                time.sleep(2)  # by now the driver has the last checkpoint
                os._exit(1)
        return super().logits(vit, batch, state)
"""


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray", "ignore:.*:DeprecationWarning:ray")
def test_a_run_whose_worker_was_killed_resumes_from_its_last_round(bench, plugin, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "draw", lambda *_, **__: [])
    steps = tmp_path / "steps"
    own = plugin("dies-once", ONCE.format(steps=steps, dies_at=10_000))
    grid = ("--plugin", own, "--seed", 0, "--participation", 0.1, "--rounds", 3, "--executor", "sequential")
    every_round = ("--checkpoint-every", 0, "--retries", 0)
    bench("run", "--method", "dies-once", *grid, "--out", "whole")
    last = int(steps.read_text()) - 1
    steps.unlink()
    own.write_text(own.read_text().replace("10000", str(last)))
    ray = ("sweep", "--methods", "dies-once,head", *grid, "--workers", 2, *every_round, "--out", "ray")
    assert bench(*ray).code == 1
    (kept,) = (tmp_path / "ray").glob("*/checkpoint.safetensors")
    bench.ok(*ray)
    assert not list((tmp_path / "ray").glob("*/checkpoint*"))
    found, expected = (
        json.loads((tmp_path / place / kept.parent.name / "result.json").read_text()) for place in ("ray", "whole")
    )
    assert [again["after_round"] for again in found["when"]["resumed"]] == [2]
    for key in ("metrics", "metrics_prior", "communication", "never_trained"):
        assert found[key] == expected[key]
