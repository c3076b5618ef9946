"""Saves the progress of a run and lets it continue from what an earlier attempt left."""

import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fedprompt.benchmark.runs.checkpoint import CheckpointError, pack, restore, unpack
from fedprompt.benchmark.runs.store import CHECKPOINT_EVERY
from fedprompt.benchmark.simulation.simulator import Simulator

log = logging.getLogger("bench")

COST_FACTOR = 20
"""Checkpoints may take one part in this many of the time, however large they are."""


def _discard(_: bytes) -> None:
    pass


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints come from and go to.

    Attributes:
        found: The checkpoint of an earlier attempt, if any.
        keep: Saves a checkpoint.
        every: Seconds between checkpoints; 0: every round.
    """

    found: bytes | None = None
    keep: Callable[[bytes], None] = _discard
    every: float = CHECKPOINT_EVERY


class Checkpointer:
    """The checkpoints of one simulation: call `resume` before it runs and `after_round` after each round."""

    def __init__(self, run: Simulator, run_id: str, checkpoints: Checkpoints) -> None:
        self.run, self.run_id, self.checkpoints = run, run_id, checkpoints
        self.began = time.monotonic()
        self.due = self.began + checkpoints.every
        self.earlier_seconds = 0.0
        self.resumed: list[dict[str, Any]] = []

    def resume(self) -> None:
        """Continues from the checkpoint that was found; logs one that does not fit, and starts over."""
        content = self.checkpoints.found
        if content is None:
            return
        try:
            header, tensors = unpack(content, self.run_id)
            restore(self.run, header, tensors)
        except CheckpointError as error:
            log.warning("the checkpoint of run %s %s; the run starts over", self.run_id, error)
            return
        self.earlier_seconds = header.seconds
        worker = f"{socket.gethostname()}:{os.getpid()}"
        self.resumed = [*header.resumed, {"after_round": header.round, "begun_on": header.kernels, "worker": worker}]

    def after_round(self, number: int) -> None:
        """Saves a checkpoint of the completed round if one is due; never after the last round."""
        now, every = time.monotonic(), self.checkpoints.every
        if now < self.due or number == self.run.context.settings.rounds:
            return
        seconds = self.earlier_seconds + now - self.began
        self.checkpoints.keep(pack(self.run, self.run_id, seconds, self.resumed))
        ended = time.monotonic()
        self.due = ended + max(every, COST_FACTOR * (ended - now)) if every else ended
