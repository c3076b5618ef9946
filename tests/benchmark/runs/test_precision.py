import pytest
import torch

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware import devices as machine
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs import precision
from fedprompt.benchmark.runs.precision import MIN_SPEEDUP, resolve_precision, speedup
from tests.benchmark.conftest import config, configs


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A machine whose bf16 support and speed-up a test can set; lists the configurations measured."""
    facts: dict[str, list[RunConfig] | float | bool] = {"speedup": 2.0, "measured": [], "bf16": True}

    def measure(run):
        facts["measured"].append(run)
        return facts["speedup"]

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "speedup", measure)
    monkeypatch.setattr(machine, "has_bf16", lambda _: facts["bf16"])
    return facts


@pytest.mark.parametrize(
    ("ratio", "expected"), [(2.0, "bf16"), (MIN_SPEEDUP + 0.01, "bf16"), (MIN_SPEEDUP, "fp32"), (0.5, "fp32")]
)
def test_auto_resolves_to_the_faster_precision(host, ratio, expected):
    host["speedup"] = ratio
    assert [c.precision for c in resolve_precision([config(precision="auto")])] == [expected]


def test_the_speedup_is_measured_once_per_machine_and_backbone(host):
    grid = configs(methods=("head", "fedvpt"), precision="auto")
    assert {c.precision for c in resolve_precision(grid)} == {"bf16"}
    assert len(host["measured"]) == 1
    host["speedup"] = 0.5  # a new measurement would differ
    assert {c.precision for c in resolve_precision(grid)} == {"bf16"}
    assert len(host["measured"]) == 1
    (other,) = resolve_precision([config(precision="auto", image_size=64)])
    assert other.precision == "fp32"
    assert len(host["measured"]) == 2


def test_without_bf16_support_auto_is_fp32_without_a_measurement(host):
    host["bf16"] = False
    assert resolve_precision([config(precision="auto")])[0].precision == "fp32"
    assert host["measured"] == []


def test_a_gpu_with_bf16_support_is_not_measured(host):
    assert resolve_precision([config(precision="auto", device="cuda")])[0].precision == "bf16"
    assert host["measured"] == []


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_an_explicit_precision_is_unchanged(host, name):
    (run,) = grid = configs(precision=name)
    assert resolve_precision(grid) == [run]
    assert run.precision == name
    assert host["measured"] == []


def test_bf16_without_support_is_rejected(monkeypatch):
    monkeypatch.setattr(runner, "has_bf16", lambda _: False)
    with pytest.raises(ConfigError, match=r"--precision bf16: cpu has no bf16 instructions here; use --precision fp32"):
        runner.simulator(config(precision="bf16"))


def test_the_run_id_depends_on_the_resolved_precision(host):
    ids = {config(precision=name).run_id for name in ("fp32", "bf16")}
    assert len(ids) == 2
    assert resolve_precision([config(precision="auto")])[0].run_id == config(precision="bf16").run_id


def test_the_speedup_is_positive_and_measured_with_one_thread():
    assert speedup(config()) > 0
    assert torch.get_num_threads() == 1
