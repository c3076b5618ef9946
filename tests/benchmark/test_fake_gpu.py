"""Methods, whole runs and measured memory on a simulated GPU, which refuses to mix its tensors with others."""

import pytest
import torch

from fedprompt.benchmark.contract import toy
from fedprompt.benchmark.runs import execute as runner
from fedprompt.benchmark.runs.checkpointer import Checkpoints
from fedprompt.benchmark.scheduling import gpu_share
from fedprompt.methods import registry
from tests.benchmark.conftest import config
from tests.fake_gpu import GpuTensor, fake_gpu

METHODS = ("fedvpt+scaffold", "pep-fedpt", "fedper+feddyn", "knn-per", "fed3r", "fedrep")


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with fake_gpu(monkeypatch):
        yield


def test_the_simulated_gpu_refuses_what_a_gpu_refuses(gpu):
    there, here = torch.ones(2, 2, device="cuda"), torch.ones(2, 2)
    assert there.device.type == "cuda"
    for broken in (lambda: there @ here, lambda: here[there[0].long()], lambda: torch.where(there > 0, here, 0.0)):
        with pytest.raises(RuntimeError, match="same device"):
            broken()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, device="cuda", generator=torch.Generator())
    assert there[here[0].long()].sum().item() == 4


@pytest.mark.parametrize("kind", ["sequential", "fused"])
@pytest.mark.parametrize("name", METHODS)
def test_a_round_keeps_all_tensors_on_the_gpu_and_gives_the_numbers_of_the_cpu(monkeypatch, name, kind):
    expected = toy.simulator(registry.create(name), toy.vit(), 1, kind)
    expected.run()
    with fake_gpu(monkeypatch):
        vit = toy.vit()
        vit.model.to("cuda")
        run = toy.simulator(registry.create(name), vit, 1, kind)
        run.run()
        for tensors in (run.state.server.tensors, *run.state.local.values()):
            assert all(isinstance(value, GpuTensor) for value in tensors.values())
        for tensor, value in expected.state.server.tensors.items():
            torch.testing.assert_close(run.state.server.tensors[tensor].cpu(), value)


def test_a_run_on_a_gpu_ends_and_resumes_with_the_metrics_of_the_cpu(gpu, small_data):
    own = {"methods": ("fedper",), "datasets": (small_data,), "clients": 5, "participation": 0.5, "rounds": 2}
    there, kept = config(**own, device="cuda"), []
    assert torch.backends.cudnn.allow_tf32
    whole = runner.execute(there, checkpoints=Checkpoints(keep=kept.append, every=0)).result
    resumed = runner.execute(there, checkpoints=Checkpoints(found=kept[-1])).result
    assert whole["executor"]["used"] == "fused"
    assert not torch.backends.cudnn.allow_tf32  # fp32 means fp32
    assert resumed["when"]["resumed"]
    assert whole["metrics"] == resumed["metrics"]
    assert whole["metrics"] == runner.execute(config(**own, executor="fused")).result["metrics"]


def test_the_memory_of_a_run_is_measured_and_shared(gpu, small_data, capsys):
    run = config(methods=("fedper",), datasets=(small_data,), clients=5, device="cuda")
    assert gpu_share._peak(run) > 0
    needed = gpu_share.bytes_needed([run], (), lambda unknown: [10**9 for _ in unknown])
    assert gpu_share.share_of(needed, 10 * needed) == 0.1
