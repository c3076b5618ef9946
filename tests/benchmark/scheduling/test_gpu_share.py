import logging

import pytest
import torch

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.hardware import memory
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs.store import Entry
from fedprompt.benchmark.scheduling import gpu_share
from tests.benchmark.conftest import config, configs

GB = 10**9


@pytest.mark.parametrize(
    ("needed", "free", "expected"),
    [
        (20 * GB, 80 * GB, 0.25),
        (20 * GB + 1, 80 * GB, 0.3333),
        (27 * GB, 80 * GB, 0.5),
        (40 * GB, 80 * GB, 0.5),
        (41 * GB, 80 * GB, 1.0),
        (90 * GB, 80 * GB, 1.0),
        (1, 80 * GB, 0.01),
    ],
)
def test_a_share_admits_as_many_runs_as_fit(needed, free, expected):
    assert gpu_share.share_of(needed, free) == expected


def test_ray_places_as_many_runs_on_a_gpu_as_were_computed():
    parts = {runs: round(gpu_share.share_of(GB, runs * GB) * 10_000) for runs in range(1, 101)}
    assert {runs: 10_000 // part for runs, part in parts.items()} == {runs: runs for runs in range(1, 101)}


def entry(run, peak, status="done"):
    return Entry(run.run_id, status, {"config": run.model_dump(mode="json"), "gpu_peak_bytes": peak})


def nothing(_):
    raise AssertionError("a known run was measured")


def test_finished_runs_with_equal_settings_determine_the_memory():
    first, second = configs(seeds=(0, 1))
    other = config(methods=("fedvpt",))
    finished = [entry(first, 2 * GB), entry(second, 3 * GB), entry(other, 9 * GB)]
    assert gpu_share.bytes_needed([second], finished, nothing) == pytest.approx(3.45 * GB + gpu_share.CONTEXT, abs=1)
    assert gpu_share.bytes_needed([second, other], finished, nothing) == pytest.approx(
        10.35 * GB + gpu_share.CONTEXT, abs=1
    )


def test_unknown_memory_is_measured_once_per_setting():
    asked: list[RunConfig] = []

    def measure(unknown):
        asked.extend(unknown)
        return [4 * GB, 1 * GB]

    runs = [*configs(methods=("head", "fedvpt"), seeds=(0, 1)), config(batch_size=64)]
    finished = [entry(runs[0], 2 * GB), entry(runs[2], None), entry(runs[3], 8 * GB, "failed")]
    assert gpu_share.bytes_needed(runs, finished, measure) == pytest.approx(4.6 * GB + gpu_share.CONTEXT, abs=1)
    assert [(run.method, run.batch_size) for run in asked] == [("fedvpt", runs[0].batch_size), ("head", 64)]


def test_the_share_is_printed_with_the_memory(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (40 * GB, 80 * GB))
    monkeypatch.setattr(gpu_share, "CONTEXT", 0)
    assert gpu_share.auto_share([config()], [entry(config(), 8 * GB)]) == 0.25
    assert capsys.readouterr().err == (
        "--gpus-per-run auto: a run needs 9.2 of 40.0 GB free memory: 0.25 GPU per run, 4 per GPU\n"
    )


def local_bytes(run):
    """The bytes of personal heads in fp32: a weight per class and feature, and a bias per class."""
    context = runner.simulator(run).context
    return 4 * len(context.federation.seen) * context.vit.classes * (context.vit.dim + 1)


def test_the_state_of_all_clients_is_added_to_the_measured_peak(small_data):
    """On a CPU torch reports no memory, so only the clients' state remains."""
    run = config(methods=("fedper",), datasets=(small_data,), clients=5)
    assert gpu_share.client_state_bytes(runner.simulator(run)) == local_bytes(run) > 0
    assert gpu_share._peak(run) == local_bytes(run)


@pytest.mark.slow
def test_another_process_measures_one_peak_per_run():
    run = config(methods=("fedper",))
    assert gpu_share.measure_peaks([run, config()]) == [local_bytes(run), 0]


def test_the_peak_reported_by_torch_is_used(monkeypatch):
    monkeypatch.setattr(memory, "peak", lambda _: 5 * GB)
    assert gpu_share._peak(config()) == 5 * GB


def raising(error):
    def call(*_):
        raise error

    return call


def test_a_failing_run_is_logged_and_ignored_and_one_that_does_not_fit_needs_the_whole_gpu(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (40 * GB, 80 * GB))
    monkeypatch.setattr(gpu_share, "probe", raising(ZeroDivisionError("by zero")))
    with caplog.at_level(logging.WARNING):
        assert gpu_share._peak(config()) == 0
    assert caplog.messages == ["cannot measure the memory of head, which is ignored: ZeroDivisionError: by zero"]
    monkeypatch.setattr(gpu_share, "probe", raising(torch.OutOfMemoryError("CUDA out of memory")))
    assert gpu_share._peak(config()) == 80 * GB


def test_a_record_has_the_peak_of_a_gpu_but_not_of_a_cpu(monkeypatch):
    assert "gpu_peak_bytes" not in runner.execute(config()).result
    monkeypatch.setattr(memory, "peak", lambda _: 7 * GB)
    assert runner.execute(config()).result["gpu_peak_bytes"] == 7 * GB
