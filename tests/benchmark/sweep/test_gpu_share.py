import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from fedprompt.benchmark.backbone import memory_budget as memory
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs.store import Entry
from fedprompt.benchmark.sweep import gpu_share
from fedprompt.benchmark.sweep.gpu_share import CONTEXT, kept_bytes, measured, needed, share, sized
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
def test_a_share_is_that_of_the_most_whole_runs_that_fit(needed: int, free: int, expected: float) -> None:
    assert share(needed, free) == expected


def test_ray_puts_as_many_runs_on_a_gpu_as_were_counted() -> None:
    parts = {runs: round(share(GB, runs * GB) * 10_000) for runs in range(1, 101)}
    assert {runs: 10_000 // part for runs, part in parts.items()} == {runs: runs for runs in range(1, 101)}


def entry(run: RunConfig, peak: object, status: str = "done") -> Entry:
    return Entry(run.run_id, status, {"config": run.model_dump(mode="json"), "gpu_peak_bytes": peak})


def nothing(_: Sequence[RunConfig]) -> list[int]:
    raise AssertionError("what is known was measured again")


def test_finished_runs_of_the_same_settings_say_what_is_needed() -> None:
    first, second = configs(seeds=(0, 1))
    other = config(methods=("fedvpt",))
    finished = [entry(first, 2 * GB), entry(second, 3 * GB), entry(other, 9 * GB)]
    assert needed([second], finished, nothing) == pytest.approx(3.45 * GB + CONTEXT, abs=1)
    assert needed([second, other], finished, nothing) == pytest.approx(10.35 * GB + CONTEXT, abs=1)


def test_what_no_finished_run_says_is_measured_once_a_setting() -> None:
    asked: list[RunConfig] = []

    def measure(unknown: Sequence[RunConfig]) -> list[int]:
        asked.extend(unknown)
        return [4 * GB, 1 * GB]

    runs = [*configs(methods=("head", "fedvpt"), seeds=(0, 1)), config(batch_size=64)]
    finished = [entry(runs[0], 2 * GB), entry(runs[2], None), entry(runs[3], 8 * GB, "failed")]
    assert needed(runs, finished, measure) == pytest.approx(4.6 * GB + CONTEXT, abs=1)
    assert [(run.method, run.batch_size) for run in asked] == [("fedvpt", runs[0].batch_size), ("head", 64)]


def test_the_share_is_told_with_the_figures_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (40 * GB, 80 * GB))
    monkeypatch.setattr(gpu_share, "CONTEXT", 0)
    assert sized([config()], [entry(config(), 8 * GB)]) == 0.25
    assert capsys.readouterr().err == (
        "--gpus-per-run auto: a run takes 9.2 of 40.0 GB free: 0.25, 4 at a time on a GPU\n"
    )


def local_bytes(run: RunConfig) -> int:
    """What the clients of a personal head keep: a weight of every class and feature, and a bias, in fp32."""
    simulation = runner.simulator(run)
    return 4 * len(simulation.federation.seen) * simulation.vit.classes * (simulation.vit.dim + 1)


def test_a_round_and_a_pass_are_computed_in_a_process_of_its_own_and_clients_own_tensors_added() -> None:
    """On a CPU torch counts no memory, which leaves what the clients keep."""
    run = config(methods=("fedper",))
    assert kept_bytes(runner.simulator(run)) == local_bytes(run) > 0
    assert measured([run, config()]) == [local_bytes(run), 0]


def test_the_peak_that_torch_tells_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "peak", lambda _: 5 * GB)
    assert gpu_share._peak(config()) == 5 * GB


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: object) -> None:
        raise error

    return call


def test_what_fails_is_left_out_and_named_and_what_does_not_fit_takes_all(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (40 * GB, 80 * GB))
    monkeypatch.setattr(gpu_share, "probe", raising(ZeroDivisionError("by zero")))
    with caplog.at_level(logging.WARNING):
        assert gpu_share._peak(config()) == 0
    assert caplog.messages == ["the memory of head is not known, and left out: ZeroDivisionError: by zero"]
    monkeypatch.setattr(gpu_share, "probe", raising(torch.OutOfMemoryError("CUDA out of memory")))
    assert gpu_share._peak(config()) == 80 * GB


def test_a_record_tells_the_peak_of_a_gpu_and_of_a_cpu_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "gpu_peak_bytes" not in runner.execute(config()).result
    monkeypatch.setattr(memory, "peak", lambda _: 7 * GB)
    assert runner.execute(config()).result["gpu_peak_bytes"] == 7 * GB
