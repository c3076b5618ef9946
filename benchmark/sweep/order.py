"""In what order runs begin: the longest first, so that none is left to run alone at the end."""

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

from fedprompt.benchmark.config.run_config import RunConfig
from fedprompt.benchmark.runs.store import Entry


def longest_first(configs: Sequence[RunConfig], finished: Iterable[Entry] = ()) -> list[RunConfig]:
    """The runs by falling expected length, equal ones in the order given.

    Expected is rounds x epochs x participation, times what finished runs of the same method, data set and backbone took
    for one of it; of a method that none has finished, what the others took on these, or on anything.
    """
    paces: dict[tuple[str, ...], list[float]] = {}
    for entry in finished:
        seconds_taken = (entry.result.get("seconds") or {}).get("total")
        if entry.status == "done" and seconds_taken is not None:
            config = entry.result["config"]
            pace = seconds_taken / _work(config)
            for key in _keys(config):
                paces.setdefault(key, []).append(pace)
    means = {key: mean(values) for key, values in paces.items()}

    def seconds(config: RunConfig) -> float:
        values = config.model_dump()
        return next((means[key] for key in _keys(values) if key in means), 1.0) * _work(values)

    return sorted(configs, key=seconds, reverse=True)


def _work(config: dict[str, Any]) -> float:
    return float(config["rounds"] * max(1, config["epochs"]) * config["participation"])


def _keys(config: dict[str, Any]) -> list[tuple[str, ...]]:
    """What a run's pace is looked up by, the nearest first."""
    material = (config["dataset"], config["backbone"])
    return [(config["method"], *material), material, ()]
