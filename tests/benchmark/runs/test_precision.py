import pytest
import torch

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware import devices as machine
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs import precision
from fedprompt.benchmark.runs.precision import GAIN, gain, resolve_precision
from tests.benchmark.conftest import config, configs


@pytest.fixture
def measured(tmp_path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[RunConfig] | float | bool]:  # type: ignore[no-untyped-def]
    """A machine with bf16 whose `gain` is what the test says, and the configurations it was measured for."""
    said: dict[str, list[RunConfig] | float | bool] = {"gain": 2.0, "asked": [], "bf16": True}

    def told(of: RunConfig) -> float:
        said["asked"].append(of)  # type: ignore[union-attr]
        return said["gain"]  # type: ignore[return-value]

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "gain", told)
    monkeypatch.setattr(machine, "has_bf16", lambda _: said["bf16"])
    return said


@pytest.mark.parametrize(("of_time", "comes_to"), [(2.0, "bf16"), (GAIN + 0.01, "bf16"), (GAIN, "fp32"), (0.5, "fp32")])
def test_auto_comes_to_what_is_measured_faster(measured, of_time: float, comes_to: str) -> None:  # type: ignore[no-untyped-def]
    measured["gain"] = of_time
    assert [c.precision for c in resolve_precision([config(precision="auto")])] == [comes_to]


def test_it_is_measured_once_a_machine_and_backbone_and_remembered(measured) -> None:  # type: ignore[no-untyped-def]
    grid = configs(methods=("head", "fedvpt"), precision="auto")
    assert {c.precision for c in resolve_precision(grid)} == {"bf16"}
    assert len(measured["asked"]) == 1
    measured["gain"] = 0.5  # of another day, which no longer counts
    assert {c.precision for c in resolve_precision(grid)} == {"bf16"}
    assert len(measured["asked"]) == 1
    (other,) = resolve_precision([config(precision="auto", image_size=64)])
    assert other.precision == "fp32"
    assert len(measured["asked"]) == 2


def test_without_the_instructions_auto_is_fp32_and_nothing_is_measured(measured) -> None:  # type: ignore[no-untyped-def]
    measured["bf16"] = False
    assert resolve_precision([config(precision="auto")])[0].precision == "fp32"
    assert measured["asked"] == []


def test_a_gpu_with_the_instructions_needs_no_measuring(measured) -> None:  # type: ignore[no-untyped-def]
    assert resolve_precision([config(precision="auto", device="cuda")])[0].precision == "bf16"
    assert measured["asked"] == []


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_a_precision_that_was_asked_for_is_left_alone(measured, asked: str) -> None:  # type: ignore[no-untyped-def]
    (run,) = grid = configs(precision=asked)
    assert resolve_precision(grid) == [run]
    assert run.precision == asked
    assert measured["asked"] == []


def test_bf16_without_the_instructions_is_refused_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "has_bf16", lambda _: False)
    with pytest.raises(ConfigError, match=r"--precision bf16: cpu has no bf16 instructions here; use --precision fp32"):
        runner.simulator(config(precision="bf16"))


def test_another_precision_is_another_run_and_auto_names_the_one_it_came_to(measured) -> None:  # type: ignore[no-untyped-def]
    ids = {config(precision=name).run_id for name in ("fp32", "bf16")}
    assert len(ids) == 2
    assert resolve_precision([config(precision="auto")])[0].run_id == config(precision="bf16").run_id


def test_the_gain_is_a_ratio_of_times_that_leaves_the_threads_at_one() -> None:
    assert gain(config()) > 0
    assert torch.get_num_threads() == 1
