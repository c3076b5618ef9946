"""Checkpoints on disk, in the directory of their run until the run is done. Only the driver writes them."""

import logging
import os
from contextlib import suppress

from fedprompt.benchmark.runs.checkpoint import CheckpointError, unpack
from fedprompt.benchmark.runs.checkpointer import Checkpoints
from fedprompt.benchmark.runs.store import CHECKPOINT, CHECKPOINT_EVERY, Store
from fedprompt.data.files.atomic import atomic_write

UNUSABLE = "checkpoint-set-aside.safetensors"

log = logging.getLogger("bench")


class CheckpointFiles:
    """The checkpoints of a store's runs. `every`: seconds between two checkpoints of a run; 0: every round."""

    def __init__(self, store: Store, every: float = CHECKPOINT_EVERY) -> None:
        self.store, self.every = store, every

    def of(self, run_id: str) -> Checkpoints:
        """Returns the checkpoints of a run that is executed in this process."""
        return Checkpoints(self.load(run_id), lambda content: self.save(run_id, content), self.every)

    def load(self, run_id: str) -> bytes | None:
        """Returns the checkpoint of a run, or None. An unusable one is renamed and logged."""
        path = self.store.directory / run_id / CHECKPOINT
        try:
            content = path.read_bytes()
            unpack(content, run_id)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, CheckpointError) as error:
            log.warning("%s %s; it is renamed to %s, and the run starts over", path, error, UNUSABLE)
            with suppress(OSError):  # its folder may not be written
                os.replace(path, path.with_name(UNUSABLE))
            return None
        return content

    def save(self, run_id: str, content: bytes) -> None:
        """Replaces the checkpoint of a run. On a full disk the run continues without one."""
        if self.store.is_done(run_id):  # a worker's last checkpoint may arrive after its record
            return
        folder = self.store.directory / run_id
        try:
            folder.mkdir(exist_ok=True)
            atomic_write(folder / CHECKPOINT, content)
        except OSError as error:
            log.warning("cannot save a checkpoint of run %s: %s", run_id, error)
