"""HOW the comparison runs: frozen backbone, simulator, executors, sweep, run store, the `bench` command."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedprompt.benchmark.api.calls import run, sweep
    from fedprompt.benchmark.api.record import Record
    from fedprompt.benchmark.errors import ConfigError, RunError
    from fedprompt.benchmark.scheduling.callbacks import Round

SOURCES = {
    **dict.fromkeys(("run", "sweep"), "api.calls"),
    "Record": "api.record",
    **dict.fromkeys(("ConfigError", "RunError"), "errors"),
    "Round": "scheduling.callbacks",
}
__all__ = ["ConfigError", "Record", "Round", "RunError", "run", "sweep"]


def __getattr__(name: str) -> Any:
    """Imports a public name on first use, so that `import fedprompt.benchmark` loads neither torch nor pandas."""
    if name in SOURCES:
        return getattr(importlib.import_module(f"{__name__}.{SOURCES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
