"""Runs the same jobs in each framework, in a separate process and environment."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedprompt.benchmark.frameworks import monitor
from fedprompt.benchmark.frameworks.environments import Environments
from fedprompt.benchmark.frameworks.interpreters import UnavailableError
from fedprompt.benchmark.frameworks.outcome import Outcome
from fedprompt.benchmark.frameworks.plan import Plan, build
from fedprompt.benchmark.frameworks.table import Row
from fedprompt.benchmark.hardware.devices import processors

LAUNCHED = {"pfl"}  # frameworks that run one process per processor under torch's launcher
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "TOKENIZERS_PARALLELISM": "false"}


@dataclass
class Comparison:
    """Measured rows, and one message for each measurement that failed."""

    rows: list[Row] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def compare(
    plan: Plan,
    clients: Sequence[int],
    seeds: Sequence[int],
    frameworks: Sequence[str],
    folder: Path,
    environments: Environments,
    report: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Measures each framework at each number of clients. A failure does not stop the others.

    Args:
        plan: The job.
        clients: Numbers of clients.
        seeds: Seeds for the first number of clients; the others use only the first seed.
        frameworks: Names from `outcome.FRAMEWORKS`.
        folder: Folder for data, logs and outcomes.
        environments: The environments of the frameworks.
        report: Receives a line before each step.

    Raises:
        ConfigError, DataError: The job cannot be created.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    threads = processors()
    jobs = [
        (count, seed, build(plan, count, seed, threads, folder))
        for i, count in enumerate(clients)
        for seed in (seeds if i == 0 else seeds[:1])
    ]
    result, pythons = Comparison(), {}
    for framework in frameworks:
        try:
            report(f"preparing the environment of {framework}")
            pythons[framework] = environments.python(framework)
        except UnavailableError as error:
            result.failures.append(str(error))
    for count, seed, job in jobs:
        for framework, python in pythons.items():
            report(f"{count} clients, seed {seed}: {framework}")
            row = measure(framework, python, job, count, seed, threads)
            if isinstance(row, str):
                result.failures.append(row)
            else:
                result.rows.append(row)
    return result


def measure(framework: str, python: Path, job: Path, clients: int, seed: int, threads: int) -> Row | str:
    """Runs one job in one framework; returns the measurements, or an error message."""
    result, log = job.with_name(f"{framework}.json"), job.with_name(f"{framework}.log")
    result.unlink(missing_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={threads}"]
    command = [str(python), *(launcher if framework in LAUNCHED and threads > 1 else [])]
    command += ["-m", "fedprompt.benchmark.frameworks.outcome", framework, str(job), str(result)]
    usage = monitor.run(command, log, SETTINGS)
    if usage.code or not result.is_file():
        return f"{framework} failed with {clients} clients and seed {seed}: {_error(log)} (full output: {log})"
    outcome = Outcome.read(result)
    return Row(
        framework=framework,
        clients=clients,
        seed=seed,
        round_seconds=outcome.round_seconds,
        job_seconds=usage.seconds,
        start_seconds=outcome.marks[1] - usage.started - outcome.round_seconds,
        peak_bytes=usage.pss,
        peak_rss_bytes=usage.rss,
        accuracy=outcome.accuracy,
        facts=outcome.facts,
    )


def _error(log: Path) -> str:
    """Returns the last line of a log that names an error. torch's launcher appends a report of its own."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(\[\w+\]: )?[\w.]+(Error|Exception): ", line)]
    return (errors or lines or ["no output"])[-1]
