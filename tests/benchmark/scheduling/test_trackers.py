import sys

import pandas as pd
import pytest

from tests.benchmark.conftest import SMALL, refused

RUN = ("run", "--method", "head", *SMALL, "--rounds", 2, "--out", "runs")


def rounds(runs):
    (path,) = runs.glob("*/rounds.parquet")
    return pd.read_parquet(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_receives_the_curves_of_a_run(bench, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    bench.ok(*RUN, "--tracker", "tensorboard")
    (folder,) = (tmp_path / "runs" / "tensorboard").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    expected = rounds(tmp_path / "runs")
    for name in ("seen_mean", "upload_bytes"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [0, 1, 2]
        assert [value for _, value in found] == pytest.approx(expected[name].tolist())
    assert [event.step for event in events.Scalars("train_loss")] == [1, 2]  # there is no loss before the first round


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_mlflow_receives_the_curves_of_a_run(bench, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    said = bench.ok(*RUN, "--tracker", "mlflow")
    assert "tracker failed" not in said.err
    client = mlflow.MlflowClient((tmp_path / "runs" / "mlflow").as_uri())
    (experiment,) = (found for found in client.search_experiments() if found.name == "bench")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "seen_mean")
    assert [point.value for point in history] == rounds(tmp_path / "runs")["seen_mean"].tolist()
    assert run.data.params["rounds"] == "2"


def test_a_missing_or_unknown_tracker_is_reported_before_anything_runs(bench, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    refused(bench(*RUN, "--tracker", "wandb"), "wandb", "pip install 'fedprompt-bench[wandb]'")
    refused(bench(*RUN, "--tracker", "paper"), "--tracker paper", "tensorboard")
    assert not (tmp_path / "runs").exists()


def test_a_failing_tracker_loses_no_run(bench, tmp_path, monkeypatch):
    from fedprompt.benchmark.scheduling import trackers

    def down(*_):
        raise ConnectionError("it is down")

    monkeypatch.setitem(trackers.TRACKERS, "tensorboard", ("json", lambda _: down))
    said = bench.ok(*RUN, "--tracker", "tensorboard")
    assert "its tracker failed: ConnectionError: it is down" in said.err
    assert len(rounds(tmp_path / "runs")) == 3
