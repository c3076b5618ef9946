"""Results: records -> data frames -> tables, figures, claims and reports. Reads records only, never trains."""

import importlib
from typing import TYPE_CHECKING, Any

from fedprompt.results.errors import RecordError

if TYPE_CHECKING:
    from fedprompt.results.figures.drawing import draw
    from fedprompt.results.records.frames import clients, load, rounds
    from fedprompt.results.records.models import model
    from fedprompt.results.statistics.pairs import differences
    from fedprompt.results.statistics.ranks import rank
    from fedprompt.results.tables.leaderboard import leaderboard
    from fedprompt.results.tables.render import render

SOURCES = {
    **dict.fromkeys(("clients", "load", "rounds"), "records.frames"),
    "model": "records.models",
    "differences": "statistics.pairs",
    "rank": "statistics.ranks",
    "leaderboard": "tables.leaderboard",
    "render": "tables.render",
    "draw": "figures.drawing",
}
__all__ = ["RecordError", "clients", "differences", "draw", "leaderboard", "load", "model", "rank", "render", "rounds"]


def __getattr__(name: str) -> Any:
    """Imports a public function on first use, so that `import fedprompt.results` does not load pandas."""
    if name in SOURCES:
        return getattr(importlib.import_module(f"{__name__}.{SOURCES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
