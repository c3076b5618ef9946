from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from torch.nn import functional

from fedprompt.benchmark.hardware import memory as module
from fedprompt.benchmark.hardware.memory import (
    BUDGET_SHARE,
    SavedActivations,
    free_memory,
    is_out_of_host_memory,
    is_out_of_memory,
    memory_budget,
    requested,
)
from tests import toy

CPU = torch.device("cpu")


def test_each_saved_tensor_is_counted_once():
    x = torch.ones(3, 5, requires_grad=True)
    with SavedActivations(toy.vit().model) as saved:
        y = x.exp()  # saves its result
        (y * y).sum()  # saves y again, twice
    assert saved.bytes == 3 * 5 * 4


def test_frozen_weights_are_not_counted():
    weight = toy.vit().model.blocks[0].mlp.fc1.weight
    x = torch.ones(2, weight.shape[1], requires_grad=True)
    for matrix, expected in ((weight, 0), (weight.clone(), weight.nbytes)):
        with SavedActivations(toy.vit().model) as saved:
            functional.linear(x, matrix)
        assert saved.bytes == expected


def test_nothing_is_counted_outside_the_block():
    x = torch.ones(4, requires_grad=True)
    with SavedActivations(toy.vit().model) as saved:
        pass
    x.exp()
    assert saved.bytes == 0


def test_gradients_are_the_same_inside_the_block():
    x = torch.arange(3.0, requires_grad=True)
    with SavedActivations(toy.vit().model):
        (x**3).sum().backward()
    assert x.grad.tolist() == [0, 3, 12]


def test_the_budget_is_a_share_of_the_free_memory(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    assert memory_budget(CPU) == 600


def test_on_a_gpu_the_budget_is_a_share_of_its_own_free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2000, 9000))
    assert memory_budget(torch.device("cuda")) == 1200


@pytest.mark.skipif(not psutil.LINUX, reason="reads /proc/meminfo")
def test_free_memory_is_what_linux_reports_as_available():
    with open("/proc/meminfo") as file:
        (kilobytes,) = (int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
    assert memory_budget(CPU) == pytest.approx(BUDGET_SHARE * 1024 * kilobytes, rel=0.2)  # other processes allocate


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_only_out_of_memory_errors_are_recognised(error, expected):
    assert is_out_of_memory(error) is expected


def test_the_error_that_torch_raises_on_this_machine_is_recognised():
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)
    assert is_out_of_host_memory(raised.value)
    assert requested(raised.value) == "1,152,921,504.6 GB"


def test_the_error_of_numpy_says_what_it_requested():
    with pytest.raises(MemoryError) as raised:
        np.empty(2**60, dtype=np.uint8)
    assert requested(raised.value) == "1.00 EiB"
    assert requested(MemoryError()) == ""


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("CUDA error: out of memory"), ValueError()]
)
def test_memory_of_a_gpu_is_not_that_of_the_machine(error):
    assert not is_out_of_host_memory(error)


def test_memory_in_torchs_cache_counts_as_free_on_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 1500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 500)
    assert free_memory(torch.device("cuda")) == 3000


@pytest.mark.parametrize("words", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"])
def test_errors_of_cuda_without_a_type_of_their_own_are_recognised(words):
    assert is_out_of_memory(RuntimeError(words))


@pytest.fixture
def cgroup(monkeypatch, tmp_path):
    """Puts this process into the cgroup job/step, on a machine with 1,000 free bytes; writes the files of a group."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(module, "PROC", tmp_path)
    monkeypatch.setattr(module, "CGROUPS", tmp_path / "groups")
    (tmp_path / "cgroup").write_text("1:name=systemd:/other\n0::/job/step\n")
    (tmp_path / "groups" / "job" / "step").mkdir(parents=True)

    def limit(name, most, used, cached=0):
        folder = tmp_path / "groups" / name
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")

    return limit


@pytest.mark.parametrize(("used", "cached", "free"), [(100, 0, 300), (100, 60, 360), (500, 0, 0)])
def test_free_memory_is_within_the_limit_of_the_cgroup(used, cached, free, cgroup):
    cgroup("job/step", 400, used, cached)
    assert free_memory() == free


def test_the_tightest_limit_of_all_enclosing_cgroups_counts(cgroup):
    cgroup("job/step", 900, 0)
    cgroup("job", 300, 50)
    cgroup(".", 600, 0)
    assert free_memory() == 250


def test_without_a_limit_all_available_memory_is_free(cgroup):
    assert free_memory() == 1000
    cgroup("job/step", "max", 100)
    assert free_memory() == 1000
    cgroup("job/step", 5000, 100)
    assert free_memory() == 1000
