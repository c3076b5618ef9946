"""Runs every contestant on the same jobs, each in a process and an environment of its own."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedprompt.benchmark.frameworks import environments
from fedprompt.benchmark.frameworks import monitor as watch
from fedprompt.benchmark.frameworks.job import Plan, build
from fedprompt.benchmark.frameworks.outcome import Outcome
from fedprompt.benchmark.frameworks.table import Row
from fedprompt.benchmark.hardware.devices import processors

LAUNCHED = {"pfl"}  # peers that run one process a processor under torch's launcher
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "TOKENIZERS_PARALLELISM": "false"}


@dataclass
class Comparison:
    """What was measured, and one plain line for everything that could not be."""

    rows: list[Row] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def compare(
    plan: Plan,
    clients: Sequence[int],
    seeds: Sequence[int],
    peers: Sequence[str],
    folder: Path,
    tell: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Measures `peers` at each number of `clients`; the first with all `seeds`, the others with the first seed.

    Raises `ConfigError` or `DataError` for a job that cannot be made. A peer that fails is a fault; the others go on.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    threads = processors()
    jobs = [
        (count, seed, build(plan, count, seed, threads, folder))
        for i, count in enumerate(clients)
        for seed in (seeds if i == 0 else seeds[:1])
    ]
    found, pythons = Comparison(), {}
    for peer in peers:
        try:
            tell(f"environment of {peer}")
            pythons[peer] = environments.python(peer, folder / "environments")
        except environments.UnavailableError as error:
            found.faults.append(str(error))
    for count, seed, job in jobs:
        for peer, python in pythons.items():
            tell(f"{count} clients, seed {seed}: {peer}")
            row = measure(peer, python, job, count, seed, threads)
            if isinstance(row, str):
                found.faults.append(row)
            else:
                found.rows.append(row)
    return found


def measure(peer: str, python: Path, job: Path, clients: int, seed: int, threads: int) -> Row | str:
    """One contestant on one job: what it took, or a line that says how it failed."""
    result, log = job.with_name(f"{peer}.json"), job.with_name(f"{peer}.log")
    result.unlink(missing_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={threads}"]
    command = [str(python), *(launcher if peer in LAUNCHED and threads > 1 else [])]
    command += ["-m", "fedprompt.benchmark.frameworks.outcome", peer, str(job), str(result)]
    own = {"PYTHONPATH": str(environments.PROJECT)} if str(python) == sys.executable else {}
    watched = watch.run(command, log, QUIET | own)
    if watched.code or not result.is_file():
        return f"{peer} failed with {clients} clients and seed {seed}: {_reason(log)} (all of it in {log})"
    outcome = Outcome.read(result)
    return Row(
        peer=peer,
        clients=clients,
        seed=seed,
        round_seconds=outcome.round_seconds,
        job_seconds=watched.seconds,
        start_seconds=outcome.marks[1] - watched.began - outcome.round_seconds,
        peak_bytes=watched.pss,
        peak_rss_bytes=watched.rss,
        accuracy=outcome.accuracy,
        facts=outcome.facts,
    )


def _reason(log: Path) -> str:
    """The last line of a log that names an error; a launcher prints its own report after it."""
    said = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in said if re.match(r"(\[\w+\]: )?[\w.]+(Error|Exception): ", line)]
    return (errors or said or ["it said nothing"])[-1]
