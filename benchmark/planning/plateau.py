"""Proposes a number of rounds from a pilot: two methods, trained for longer than the sweep."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.errors import ConfigError
from fedprompt.methods import registry
from fedprompt.results.statistics.convergence import POINTS

METHODS = ("head", "fedvpt")
"""Run where the options name no methods: a head alone, and prompts with a head."""
EVALUATIONS = 16
WITHIN = 0.05
"""Rounds are enough where later ones change seen accuracy by at most this much."""


def pilot(chosen: Options, rounds: int) -> list[RunConfig]:
    """The runs of a pilot: two methods at every data set and alpha, one seed, without personalised scores.

    Raises:
        ConfigError: The options name other than two methods.
    """
    names = METHODS if tuple(chosen.methods) == ("all",) else tuple(registry.expand(chosen.methods))
    if len(names) != 2:
        raise ConfigError(f"--to-plateau runs two methods, not {len(names)}: name two with --methods.")
    every = max(1, rounds // EVALUATIONS)
    update = {"methods": names, "seeds": chosen.seeds[:1], "rounds": rounds, "eval_every": every, "personal_epochs": 0}
    return chosen.model_copy(update=update).grid()


def plateau(rounds: Sequence[Mapping[str, Any]]) -> int:
    """The first evaluated round from which on seen accuracy stays within `WITHIN` of that after the last round."""
    seen = {row["round"]: row["seen_mean"] for row in rounds[1:] if "seen_mean" in row}
    end, enough = rounds[-1]["seen_mean"], max(seen)
    for number in sorted(seen, reverse=True):
        if abs(seen[number] - end) > WITHIN:
            break
        enough = number
    return int(enough)


def propose(
    runs: Sequence[RunConfig], execute: Callable[[RunConfig], Any], report: Callable[[dict[str, Any]], None]
) -> tuple[int | None, list[dict[str, Any]]]:
    """Executes a pilot.

    Args:
        runs: Those of `pilot`.
        execute: A run to its record.
        report: Called with the facts of each run as it ends.

    Returns:
        The rounds that are enough for all runs, None if one of them still climbs; and the facts of each run.
    """
    facts = []
    for config in runs:
        record = execute(config)
        fact = {
            "method": config.method,
            "dataset": config.dataset,
            "alpha": config.alpha,
            "seen": record.rounds[-1]["seen_mean"],
            "gain": record.result["convergence"].get("seen_change", 0.0),
            "enough": plateau(record.rounds),
        }
        facts.append(fact)
        report(fact)
    climbs = any(fact["gain"] > POINTS for fact in facts)
    return None if climbs else max(fact["enough"] for fact in facts), facts
