"""The checks by name, with their time limits."""

from collections.abc import Callable
from dataclasses import dataclass

from fedprompt.benchmark.gpu_check import agreement, device, memory, methods, speed
from fedprompt.benchmark.gpu_check.job import Job, Report
from fedprompt.benchmark.hardware.memory import peak, reset_peak
from fedprompt.benchmark.runs.execute import require_device, use_threads


@dataclass(frozen=True)
class Check:
    """A check and the seconds after which its process is stopped, unless it is small."""

    function: Callable[[Job], None]
    seconds: float


CHECKS = {  # the most wanted first; together less than 8 minutes
    "device": Check(device.device, 15),
    "speed-base": Check(speed.base, 75),
    "methods": Check(methods.methods, 95),
    "out-of-memory": Check(memory.out_of_memory, 35),
    "resume": Check(agreement.resume, 25),
    "share": Check(memory.share, 35),
    "bf16": Check(agreement.bf16, 60),
    "cpu": Check(agreement.cpu, 65),
    "speed-tiny": Check(speed.tiny, 30),
    "speed-embedded": Check(speed.embedded, 30),
}


SMALL_SECONDS = 180.0  # a small check takes seconds, and more on a machine with other work


def limit(name: str, small: bool) -> float:
    """Returns the time limit of a check in seconds."""
    return SMALL_SECONDS if small else CHECKS[name].seconds


def execute_check(name: str, device: str, small: bool, send: Callable[[Report], None]) -> None:
    """Executes a check in this process. It sends its report after each change, and its peak memory at the end."""
    job = Job(device, small, limit(name, small), send)
    use_threads(1)
    require_device(device)
    reset_peak(job.torch_device)
    CHECKS[name].function(job)
    job.keep(peak_gpu_bytes=peak(job.torch_device))
