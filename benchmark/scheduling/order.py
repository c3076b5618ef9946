"""Orders runs: by seed, and within a seed the longest first, so that no long run is left alone at the end."""

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs.store import Entry


def seed_by_seed(configs: Iterable[RunConfig], seeds: Iterable[int]) -> list[RunConfig]:
    """Sorts runs by the place of their seed in `seeds`; those of one seed keep their order."""
    places = {seed: place for place, seed in enumerate(dict.fromkeys(seeds))}
    return sorted(configs, key=lambda config: places[config.seed])


def longest_first(configs: Sequence[RunConfig], finished: Iterable[Entry] = ()) -> list[RunConfig]:
    """Sorts runs by falling expected duration; equal ones keep their order.

    The expected duration is rounds x epochs x participation, times the mean seconds per such unit of finished runs of
    the same method, data set and backbone. For a method without finished runs, the mean is over all methods on this
    data set and backbone, or over all runs.
    """
    rates: dict[tuple[str, ...], list[float]] = {}
    for entry in finished:
        if (seconds := seconds_of(entry)) is not None:
            config = entry.result["config"]
            for key in _keys(config):
                rates.setdefault(key, []).append(seconds / work(config))
    means = {key: mean(values) for key, values in rates.items()}

    def expected(config: RunConfig) -> float:
        values = config.model_dump()
        return next((means[key] for key in _keys(values) if key in means), 1.0) * work(values)

    return sorted(configs, key=expected, reverse=True)


def seconds_of(entry: Entry) -> float | None:
    """What a finished run has taken; None for a failed one, or if its record does not say."""
    return (entry.result.get("seconds") or {}).get("total") if entry.status == "done" else None


def work(config: dict[str, Any]) -> float:
    """Rounds x epochs x participation, to which the duration of runs of one method and data set is proportional."""
    return float(max(1, config["rounds"]) * max(1, config["epochs"]) * config["participation"])


def _keys(config: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns the keys under which a run's seconds per unit are averaged, the most specific first."""
    workload = (config["dataset"], config["backbone"])
    return [(config["method"], *workload), workload, ()]
