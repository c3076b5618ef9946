"""Executes all checks one after the other and saves the results after each."""

import sys
from pathlib import Path
from typing import Any

from fedprompt.benchmark.gpu_check.checks import CHECKS, execute_check, limit
from fedprompt.benchmark.gpu_check.report import draw
from fedprompt.benchmark.gpu_check.results import PICTURE, Results
from fedprompt.benchmark.gpu_check.supervisor import Supervisor


def check_all(device: str, small: bool, folder: Path) -> dict[str, Any]:
    """Returns the outcomes of all checks by name, in the order of `CHECKS`; those that have ended are not repeated.

    Raises:
        ConfigError: The folder cannot be written.
    """
    results, supervisor = Results(folder, device, small), Supervisor()
    missing = [name for name in CHECKS if not results.ended(name)]
    if missing:
        supervisor.start()
    for name in missing:
        outcome = supervisor.run(execute_check, (name, device, small), limit(name, small))
        results.add(name, outcome)
        print(f"{name}: {outcome.status}, {outcome.seconds:.0f} s", file=sys.stderr)
    checks = {name: results.checks[name] for name in CHECKS}
    draw(checks, folder / PICTURE)
    return checks
