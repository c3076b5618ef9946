"""This program, with the executor that it selects by default."""

import time
from importlib.metadata import version
from pathlib import Path

from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.frameworks.job import Job
from fedprompt.benchmark.frameworks.outcome import Outcome
from fedprompt.benchmark.runs.execute import execute


def run(path: Path) -> Outcome:
    """Runs the options of the job in the file `path`, as `bench run` does."""
    job = Job.read(path)
    marks: list[float] = []
    record = execute(options(job.options).grid()[0], job.threads, lambda *_: marks.append(time.time()))
    evaluation = record.result["seconds"]["eval"] - record.rounds[0]["seconds"]
    marks[-1] -= evaluation  # the last mark follows the evaluation, which is no part of a round
    losses = [row["train_loss"] for row in record.rounds[1:]]
    facts = {"torch": version("torch"), "threads": str(job.threads)}
    return Outcome(marks, record.result["metrics"]["seen"]["mean"], losses, facts)
