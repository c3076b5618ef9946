"""What a check is given, and how it reports its answers."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

Report = dict[str, Any]
"""The answers and measurements of a check so far, as plain values for a JSON file."""


@dataclass(frozen=True)
class Answer:
    """One line of the table.

    Attributes:
        question: What was checked.
        measured: What was found.
        wanted: What it should be; empty where nothing is required.
        ok: Whether it is as wanted; None where nothing is required or the device cannot tell.
    """

    question: str
    measured: str
    wanted: str = ""
    ok: bool | None = None


@dataclass
class Job:
    """One check in progress. Everything that it reports is sent at once, so that a killed check keeps its answers.

    Attributes:
        device: `cpu`, `cuda` or `cuda:N`.
        small: Whether to use the smallest sizes, as in CI.
        seconds: The time limit of the check.
        send: Receives the report after each change.
    """

    device: str
    small: bool
    seconds: float
    send: Callable[[Report], None]
    answers: list[Answer] = field(default_factory=list)
    data: Report = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = time.monotonic()

    @property
    def torch_device(self) -> torch.device:
        """The device as torch's type."""
        return torch.device(self.device)

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.torch_device.type == "cuda"

    def time_for(self, seconds: float) -> bool:
        """Returns whether that many more seconds fit into the limit, with one tenth of it in reserve."""
        return time.monotonic() - self.began + seconds < 0.9 * self.seconds

    def answer(self, question: str, measured: str, wanted: str = "", ok: bool | None = None) -> None:
        """Reports a line of the table; a later one with the same question replaces it."""
        self.answers = [*(a for a in self.answers if a.question != question), Answer(question, measured, wanted, ok)]
        self._send()

    def keep(self, **values: Any) -> None:
        """Reports measurements for the JSON file."""
        self.data |= values
        self._send()

    def _send(self) -> None:
        self.send({"answers": [asdict(answer) for answer in self.answers], "data": self.data})
