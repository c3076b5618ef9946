"""The run whose kept model another run starts from, and the options that it passes on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedprompt.benchmark.config.partition_options import FIELDS
from fedprompt.benchmark.config.run_config import RunConfig, RunSettings

OF_THIS_MACHINE = ("device", "executor")
"""Options that the run does not pass on."""


@dataclass(frozen=True)
class StartingPoint:
    """A run with a kept model.

    Attributes:
        config: The configuration of the run.
        digest: The hash of its model.
        path: The file of its model.
    """

    config: RunConfig
    digest: str
    path: str

    @property
    def fields(self) -> dict[str, str]:
        """The fields of `ContinuedOptions` that name it."""
        return {"from_run": self.config.run_id, "from_hash": self.digest, "from_model": self.path}

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options of the run, in the form that a preset has, as far as `given` does not replace them."""
        config = self.config
        names = [name for name in (*RunSettings.model_fields, *FIELDS) if name not in (*OF_THIS_MACHINE, "alpha")]
        known = {name: getattr(config, name) for name in names if name in RunSettings.model_fields}
        passed = {name: value for name, value in known.items() if value is not None}
        if isinstance(held_out := passed.get("held_out"), float) and held_out >= 1:
            passed["held_out"] = int(held_out)  # a number of clients; as a share it would be refused
        if config.alpha is not None:
            passed["alpha"] = [config.alpha]
        if "rounds" in given:
            passed.pop("eval_at", None)
        return passed | {"methods": [config.method], "datasets": [config.dataset], "seeds": [config.seed]}

    def settings(self, given: Mapping[str, Any]) -> list[str]:
        """The `--set` texts of the run's method, and those of `given`, which take precedence."""
        own, texts = list(given.get("set", ())), list[str]()
        if list(given.get("methods", [self.config.method])) == [self.config.method]:
            replaced = {text.partition("=")[0].strip() for text in own}
            for owner, fields in self.config.settings.items():
                names = {f"{owner}.{field}": value for field, value in fields.items()}
                texts += [f"{name}={_text(value)}" for name, value in names.items() if name not in replaced]
        return [*texts, *own]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
