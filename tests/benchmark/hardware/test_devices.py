import os
from pathlib import Path

import pytest
import torch

from fedprompt.benchmark.hardware import devices as machine

CPU = torch.device("cpu")


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the system's files say; one that is not there cannot be read."""
    said: dict[str, str] = {}

    def read(path: Path, *_: object, **__: object) -> str:
        if str(path) not in said:
            raise FileNotFoundError(path)
        return said[str(path)]

    monkeypatch.setattr(Path, "read_text", read)
    return said


def test_processors_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert machine.processors() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert machine.processors() == 7
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.processors() == 1


def test_free_memory_is_what_the_system_calls_available(files: dict[str, str]) -> None:
    files["/proc/meminfo"] = "MemTotal:  2000 kB\nMemFree:  10 kB\nMemAvailable:  1500 kB\n"
    assert machine.free_memory() == 1500 * 1024


def test_where_the_system_does_not_say_free_memory_is_unknown(files: dict[str, str]) -> None:
    assert machine.free_memory() is None
    files["/proc/meminfo"] = "MemTotal:  2000 kB\n"
    assert machine.free_memory() is None


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("fpu sse2 avx2 avx512f avx512_bf16", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fp asimd bf16 i8mm", True),
        ("fpu sse2 avx2 avx512f", False),
    ],
)
def test_a_processor_has_bf16_where_its_flags_name_it(files: dict[str, str], flags: str, has: bool) -> None:
    files["/proc/cpuinfo"] = f"processor : 0\nflags : {flags}\n"
    assert machine.has_bf16(CPU) is has


def test_an_unknown_processor_has_no_bf16(files: dict[str, str]) -> None:
    assert not machine.has_bf16(CPU)


def test_kernels_name_torch_and_the_kind_of_device() -> None:
    assert torch.__version__ in machine.kernels(CPU)
    assert torch.backends.cpu.get_cpu_capability() in machine.kernels(CPU)
