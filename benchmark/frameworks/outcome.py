"""The result of one framework, and the process that computes it: `python -m ...outcome FRAMEWORK JOB FILE`."""

import dataclasses
import importlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

PEERS = ("ours", "flower", "pfl", "plain")


@dataclass(frozen=True)
class Outcome:
    """`marks` are the clock's times before the first round and after each; `losses` each round's mean training loss,
    where the peer keeps it; `accuracy` the mean over clients; `facts` are versions and settings worth a note."""

    marks: list[float]
    accuracy: float
    losses: list[float] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def round_seconds(self) -> float:
        """Median seconds of a round, the first left out: it warms things up, and the whole job's time counts it."""
        lengths = [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]
        return median(lengths[1:] or lengths)

    def write(self, path: Path) -> None:
        """Writes the outcome as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Outcome":
        """The outcome that `write` left at `path`."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def main(peer: str, job: str, result: str) -> None:
    """Runs one contestant on a job and writes its outcome."""
    outcome = importlib.import_module(f"fedprompt.benchmark.frameworks.{peer}").run(Path(job))
    if outcome is not None:  # only the first of several processes has one
        outcome.write(Path(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
