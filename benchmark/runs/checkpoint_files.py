"""Checkpoints on disk: beside where the record of a run will be, until the run is done. Only the driver writes."""

import logging
import os

from fedprompt.benchmark.runs.checkpoint import CheckpointError, unpack
from fedprompt.benchmark.runs.checkpointer import Checkpoints
from fedprompt.benchmark.runs.store import CHECKPOINT, CHECKPOINT_EVERY, Store

ASIDE = "checkpoint-set-aside.safetensors"

log = logging.getLogger("bench")


class CheckpointFiles:
    """The runs of a store that are under way, each kept every so many seconds; 0: after every round."""

    def __init__(self, store: Store, every: float = CHECKPOINT_EVERY) -> None:
        self.store, self.every = store, every

    def of(self, run_id: str) -> Checkpoints:
        """What a run in this process goes on from and is kept in."""
        return Checkpoints(self.found(run_id), lambda content: self.keep(run_id, content), self.every)

    def found(self, run_id: str) -> bytes | None:
        """What an earlier attempt left of a run. What cannot be used is named, and set aside under another name."""
        path = self.store.directory / run_id / CHECKPOINT
        try:
            content = path.read_bytes()
            unpack(content, run_id)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, CheckpointError) as error:
            log.warning("%s %s; it is set aside, and the run starts afresh", path, error)
            os.replace(path, path.with_name(ASIDE))
            return None
        return content

    def keep(self, run_id: str, content: bytes) -> None:
        """Replaces a run's checkpoint. A full disk costs the checkpoint and not the run."""
        place = self.store.directory / run_id
        unfinished = place / f".{CHECKPOINT}-{os.getpid()}"
        entry = self.store.entry(run_id)
        if entry is not None and entry.status == "done":  # the news of a round came after that of the end
            return
        try:
            place.mkdir(exist_ok=True)
            unfinished.write_bytes(content)
            os.replace(unfinished, place / CHECKPOINT)
        except OSError as error:
            log.warning("no checkpoint of run %s: %s", run_id, error)
            unfinished.unlink(missing_ok=True)
