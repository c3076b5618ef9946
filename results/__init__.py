"""What came out: records -> tidy frames -> selections -> tables and figures. Reads records only."""

import importlib
from typing import TYPE_CHECKING, Any

from results.errors import RecordError

if TYPE_CHECKING:
    from results import claims, figures, pairs, ranks, stats, table
    from results.records import clients, load, rounds

READERS = ("clients", "load", "rounds")
PARTS = ("claims", "figures", "pairs", "ranks", "stats", "table")
__all__ = ["RecordError", "claims", "clients", "figures", "load", "pairs", "ranks", "rounds", "stats", "table"]


def __getattr__(name: str) -> Any:
    """The readers of `results.records` and the modules, imported on first use: `import results` loads no pandas."""
    if name in READERS:
        return getattr(importlib.import_module("results.records"), name)
    if name in PARTS:
        return importlib.import_module(f"results.{name}")
    raise AttributeError(f"module 'results' has no attribute {name!r}")
