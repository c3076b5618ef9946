"""Keeps a run while it is under way, and lets it go on from what an earlier attempt left."""

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

SHARE = 20  # a checkpoint may take one part in so many of the time, however large it is


def _nobody(_: bytes) -> None:
    pass


@dataclass(frozen=True)
class Checkpoints:
    """What an earlier attempt left, who keeps what this one reaches, and the seconds between; 0: every round."""

    found: bytes | None = None
    keep: Callable[[bytes], None] = _nobody
    every: float = CHECKPOINT_EVERY


class Checkpointer:
    """A simulation's checkpoints: `resume` before it runs, `after` each round."""

    def __init__(self, run: Simulator, run_id: str, checkpoints: Checkpoints) -> None:
        self.run, self.run_id, self.checkpoints = run, run_id, checkpoints
        self.began = time.monotonic()
        self.due = self.began + checkpoints.every
        self.earlier = 0.0  # seconds of the attempts before this one
        self.resumed: list[dict[str, Any]] = []

    def resume(self) -> None:
        """Puts the simulation where its checkpoint left it; one that does not fit is told of, and it starts afresh."""
        content = self.checkpoints.found
        if content is None:
            return
        try:
            head, tensors = unpack(content, self.run_id)
            restore(self.run, head, tensors)
        except CheckpointError as error:
            log.warning("the checkpoint of run %s %s; the run starts afresh", self.run_id, error)
            return
        self.earlier = head.seconds
        worker = f"{socket.gethostname()}:{os.getpid()}"
        self.resumed = [*head.resumed, {"after_round": head.round, "begun_on": head.kernels, "worker": worker}]

    @property
    def seconds(self) -> float:
        """Wall-clock of the run so far, that of earlier attempts up to their checkpoints included."""
        return self.earlier + time.monotonic() - self.began

    def after(self, number: int) -> None:
        """Keeps the round just finished, where it is time and it is not the last."""
        now, every = time.monotonic(), self.checkpoints.every
        if now < self.due or number == self.run.protocol.rounds:
            return
        self.checkpoints.keep(pack(self.run, self.run_id, self.seconds, self.resumed))
        ended = time.monotonic()
        self.due = ended + max(every, SHARE * (ended - now)) if every else ended
