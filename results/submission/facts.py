"""What the records of a directory say about themselves: the facts behind the checklist of a submission."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pandas as pd

from fedprompt.results.records.frames import Runs
from fedprompt.results.statistics.convergence import CHANGE, climbing
from fedprompt.results.statistics.pairs import untestable
from fedprompt.results.text import bounded

MAX_ERROR = 300  # characters of the error of a failed run


@dataclass(frozen=True)
class Facts:
    """What holds for the runs of a directory.

    Attributes:
        runs, done: Numbers of all and of finished runs.
        methods, settings, seeds, backbones: Their names, in the order of the tables.
        failed: Per failed run, its method, setting, seed and error.
        missing: Per method and setting, the seeds that other methods have there and it has not, as text.
        repeated: Per method, setting and seed with several finished runs, their number as text.
        climbing: Per setting, the methods that still climb when their runs end; empty settings are left out.
        unstated: Whether some finished run does not say whether it climbs.
        deviations: Per method, the known differences from its paper.
        environment: Per fact about software and hardware, its values over the finished runs.
        plugins: The plug-in files that runs need.
        untestable: Why no difference can be significant with these seeds; empty if one can.
    """

    runs: int
    done: int
    methods: list[str]
    settings: list[str]
    seeds: list[int]
    backbones: list[str]
    failed: list[tuple[str, str, int, str]]
    missing: list[str]
    repeated: list[str]
    climbing: dict[str, list[str]]
    unstated: bool
    deviations: dict[str, list[str]]
    environment: dict[str, list[str]]
    plugins: list[str]
    untestable: str

    @property
    def gaps(self) -> list[str]:
        """Missing and repeated runs."""
        return [*self.missing, *self.repeated]

    @property
    def clean_commit(self) -> str:
        """The commit of all runs; empty if there are several, or one with local changes, or none is known."""
        commits = self.environment.get("git_commit", [])
        return commits[0] if len(commits) == 1 and commits[0] and not commits[0].endswith("+") else ""

    @property
    def mixed(self) -> list[str]:
        """The facts about software and hardware that differ between runs, except the commit."""
        return [name for name, values in self.environment.items() if len(values) > 1 and name != "git_commit"]


def facts(read: Runs) -> Facts:
    """The facts about these runs. Raises RecordError if none is finished."""
    frame, done = read.frame, read.done
    rows = frame.to_dict("records")
    finished = [record for record, row in zip(read.records, rows, strict=True) if row["status"] == "done"]
    by_setting = {str(name): climbing(part) for name, part in done.groupby("setting", sort=False)}
    rising = {name: sorted(str(method) for method in part.index[part]) for name, part in by_setting.items()}
    trained = done[done["images_train"] > 0] if "images_train" in done else done  # others train nothing
    deviations: dict[str, list[str]] = {}
    for record in finished:
        deviations.setdefault(record["method"], list(record.get("deviations") or ()))
    return Facts(
        runs=len(frame),
        done=len(done),
        methods=_distinct(frame["method"]),
        settings=_distinct(frame["setting"]),
        seeds=sorted(int(seed) for seed in set(frame["seed"])),
        backbones=_distinct(frame["backbone"]),
        failed=[
            (row["method"], row["setting"], int(row["seed"]), bounded(str(row["error"]), MAX_ERROR))
            for row in rows
            if row["status"] != "done"
        ],
        missing=_missing(frame, done),
        repeated=_repeated(done),
        climbing={name: methods for name, methods in rising.items() if methods},
        unstated=CHANGE not in trained or bool(trained[CHANGE].isna().any()),
        deviations={method: texts for method, texts in sorted(deviations.items()) if texts},
        environment=_environment(finished),
        plugins=sorted({PurePath(file).name for record in finished for file in record["config"].get("plugins") or ()}),
        untestable=untestable(int(done.groupby("setting")["seed"].nunique().min())),
    )


def _distinct(names: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(name) for name in names))


def _missing(frame: pd.DataFrame, done: pd.DataFrame) -> list[str]:
    """The seeds of each setting that a method lacks there; a method without any run of a setting lacks all."""
    lines = []
    methods = _distinct(frame["method"])
    for setting in _distinct(frame["setting"]):
        there = done[done["setting"] == setting]
        wanted = set(frame.loc[frame["setting"] == setting, "seed"])
        for method in methods:
            if absent := sorted(wanted - set(there.loc[there["method"] == method, "seed"])):
                lines.append(f"{method} in {setting}: seeds {', '.join(map(str, absent))}")
    return lines


def _repeated(done: pd.DataFrame) -> list[str]:
    keys = ["method", "setting", "seed"]
    counts = done.groupby(keys, sort=False).size().rename("runs").reset_index()
    return [
        f"{row['method']} in {row['setting']}, seed {row['seed']}: {row['runs']} runs"
        for row in counts[counts["runs"] > 1].to_dict("records")
    ]


def _environment(records: list[dict[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in (record.get("environment") or {}).items():
            found.setdefault(str(name), {})[str(value)] = None
    return {name: list(values) for name, values in found.items()}
