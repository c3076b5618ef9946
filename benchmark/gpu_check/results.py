"""The results of all checks in one JSON file, which a repeated command continues."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.gpu_check.supervisor import Outcome
from fedprompt.benchmark.hardware import environment
from fedprompt.data.errors import reason
from fedprompt.data.files import json_files
from fedprompt.data.files.atomic import atomic_write

FILE, PICTURE = "gpu-check.json", "gpu-check.png"


class Results:
    """Results in a folder. Those of another device, size or environment are replaced.

    Attributes:
        content: The content of the file: `device`, `small`, `environment`, and `checks` by name.

    Raises:
        ConfigError: The folder cannot be written.
    """

    def __init__(self, folder: Path, device: str, small: bool) -> None:
        self.folder = folder
        header: dict[str, Any] = {"device": device, "small": small, "environment": environment.describe()}
        earlier = json_files.read(folder / FILE)
        same = _identity(earlier) == _identity(header)
        self.content = header | {"checks": earlier["checks"] if same and "checks" in earlier else {}}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write()
        except OSError as error:
            raise ConfigError(f"--out {folder} cannot be written: {reason(error)}; name another folder.") from error

    @property
    def checks(self) -> dict[str, Any]:
        """The outcomes of the checks by name."""
        return self.content["checks"]

    def ended(self, name: str) -> bool:
        """Returns whether a check has come to its end, whatever it found; others are repeated."""
        return name in self.checks and self.checks[name]["status"] == "done"

    def add(self, name: str, outcome: Outcome) -> None:
        """Saves the outcome of a check."""
        self.checks[name] = json.loads(json.dumps(asdict(outcome)))  # as a repeated command reads it
        self._write()

    def _write(self) -> None:
        atomic_write(self.folder / FILE, json.dumps(self.content, indent=1) + "\n")


def _identity(content: dict[str, Any]) -> dict[str, Any]:
    """Returns what results belong to. A changed file does not count: the results themselves may be tracked by git."""
    facts = content.get("environment", {})
    commit = str(facts.get("git_commit", "")).rstrip("+")
    return {key: content.get(key) for key in ("device", "small")} | {"environment": {**facts, "git_commit": commit}}
