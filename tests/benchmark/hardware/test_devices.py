import os
from pathlib import Path

import pytest
import torch

from fedprompt.benchmark.hardware import devices

CPU = torch.device("cpu")


@pytest.fixture
def files(monkeypatch):
    """Contents of the system's files; a path that is not a key cannot be read."""
    contents: dict[str, str] = {}

    def read(path, *_, **__):
        if str(path) not in contents:
            raise FileNotFoundError(path)
        return contents[str(path)]

    monkeypatch.setattr(Path, "read_text", read)
    return contents


def test_processors_are_those_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert devices.processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    for count, expected in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert devices.processors() == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu sse2 avx2 avx512f avx512_bf16", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fp asimd bf16 i8mm", True),
        ("fpu sse2 avx2 avx512f", False),
    ],
)
def test_bf16_is_read_from_the_processors_flags(files, flags, expected):
    files["/proc/cpuinfo"] = f"processor : 0\nflags : {flags}\n"
    assert devices.has_bf16(CPU) is expected


def test_an_unknown_processor_has_no_bf16(files):
    assert not devices.has_bf16(CPU)


def test_kernels_name_torch_and_the_kind_of_device():
    assert torch.__version__ in devices.kernels(CPU)
    assert torch.backends.cpu.get_cpu_capability() in devices.kernels(CPU)
