"""The result of one framework, and the process that computes it: `python -m ...outcome FRAMEWORK JOB FILE`."""

import dataclasses
import importlib
import json
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

FRAMEWORKS = ("ours", "flower", "pfl", "plain", "blazefl")


@dataclass(frozen=True)
class Outcome:
    """Result of a job in one framework.

    Attributes:
        marks: Unix times before the first round and after each round.
        accuracy: Mean over clients.
        losses: Mean training loss per round; empty where the framework does not record it.
        facts: Versions and settings for the record.
    """

    marks: list[float]
    accuracy: float
    losses: list[float] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def round_seconds(self) -> float:
        """Median seconds per round without the first, which includes warm-up."""
        lengths = [after - before for before, after in pairwise(self.marks)]
        return median(lengths[1:] or lengths)

    def write(self, path: Path) -> None:
        """Writes the outcome as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Outcome":
        """Reads a file that `write` created."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def main(framework: str, job: str, result: str) -> None:
    """Runs a job in one framework and writes its outcome."""
    outcome = importlib.import_module(f"fedprompt.benchmark.frameworks.{framework}").run(Path(job))
    if outcome is not None:  # of several processes, only the first returns one
        outcome.write(Path(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
