"""RunLocks of papers, read as data, against what was measured."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from fedprompt.results.errors import RecordError, unknown
from fedprompt.results.statistics import inference as stats
from fedprompt.results.statistics.pairs import ALL_SETTINGS, ALPHA, lower_is_better, paired, reach

OURS = Path(__file__).with_name("claims.yaml")
Verdict = Literal["supported", "contradicted", "not resolved", "not tested"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(_Strict):
    """Where a claim holds: shell patterns on the data set, the partition and the backbone."""

    datasets: tuple[str, ...] = ("*",)
    partitions: tuple[str, ...] = ("*",)
    backbones: tuple[str, ...] = ("*",)

    def of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The runs that the claim speaks of."""
        inside = pd.Series(True, index=runs.index)
        for column, patterns in (
            ("dataset", self.datasets),
            ("partition", self.partitions),
            ("backbone", self.backbones),
        ):
            inside &= runs[column].map(lambda name, patterns=patterns: _matches(name, patterns)).astype(bool)
        return runs[inside]

    def missing(self, runs: pd.DataFrame) -> list[str]:
        """The data sets of the claim that none of the runs is on."""
        return [pattern for pattern in self.datasets if not any(_matches(name, [pattern]) for name in runs["dataset"])]


class Check(_Strict):
    """What must hold in every setting and for every metric.

    `beats_all`: the method is ahead of every other one; `beats`: of the rivals; `within`: of the rivals less `margin`.
    """

    kind: Literal["beats_all", "beats", "within"]
    method: str
    metrics: tuple[str, ...]
    rivals: tuple[str, ...] = ()
    margin: float = 0.0

    def against(self, methods: Sequence[str]) -> list[str]:
        """The rivals among the methods that were run; a method's own variants and settings are none."""
        if self.kind == "beats_all":
            return [name for name in methods if re.split("[:+ ]", name)[0] != self.method]
        return [name for name in self.rivals if name in methods]


class Claim(_Strict):
    """A sentence of a paper in our words, where it holds and how it is checked."""

    id: str
    source: str
    wording: str
    settings: Settings
    check: Check


class Finding(NamedTuple):
    """What the measurements say of a claim, in one word and a sentence, with every comparison.

    `elsewhere` is the same check on the settings that the claim does not speak of: no verdict on the claim.
    """

    claim: Claim
    verdict: Verdict
    reason: str
    comparisons: pd.DataFrame
    elsewhere: "Finding | None" = None


def read(path: str | Path = OURS) -> list[Claim]:
    """The claims of a yaml file; a RecordError names what is wrong in it."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        claims = TypeAdapter(list[Claim]).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path} is no list of claims: {place}: {first['msg']}; see results/claims.yaml") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecordError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    for claim in claims:
        if (claim.check.kind == "within") != (claim.check.margin > 0) or (claim.check.kind == "beats_all") == bool(
            claim.check.rivals
        ):
            raise RecordError(
                f"{path}: {claim.id}: beats_all names no rivals, the others do; within, and it alone, has a margin"
            )
    return claims


def verify(runs: pd.DataFrame, claims: Sequence[Claim], generator: np.random.Generator) -> list[Finding]:
    """A finding for every claim. Raises RecordError for a metric that the records do not know."""
    findings = []
    for claim in claims:
        for metric in claim.check.metrics:
            if metric not in runs.select_dtypes("number"):
                raise unknown(f"metric of {claim.id}", metric, runs.select_dtypes("number").columns)
        own = claim.settings.of(runs)
        finding = assess(claim, own, generator)
        other = assess(claim, runs.drop(own.index), generator, beyond=True)
        findings.append(finding._replace(elsewhere=None if other.verdict == "not tested" else other))
    return findings


def assess(claim: Claim, runs: pd.DataFrame, generator: np.random.Generator, beyond: bool = False) -> Finding:
    """The finding on these runs alone; `beyond` the claim's own settings nothing is missing.

    Supported: in every setting, for every metric and rival, the method is ahead and p <= 0.05. All must hold, so none is
    corrected (an intersection-union test). Contradicted: some comparison, in a setting or in the mean over all settings, is
    resolved the other way after Holm over all of them. Not tested: no pair, or a data set is missing.
    """
    rows = _comparisons(claim.check, runs, generator)
    missing = [] if beyond else claim.settings.missing(runs)
    if rows.empty:
        reason = f"no finished pair of {claim.check.method} and a rival on {', '.join(claim.settings.datasets)}"
        return Finding(claim, "not tested", reason, rows)
    settings = rows[rows["setting"] != ALL_SETTINGS]
    absent = [name for name in claim.check.rivals if name not in set(settings["rival"])]
    if ((rows["lead"] < 0) & (rows["p_holm"] <= ALPHA)).any():
        verdict: Verdict = "contradicted"
    elif not ((settings["lead"] > 0) & (settings["p"] <= ALPHA)).all():
        verdict = "not resolved"
    else:
        verdict = "not tested" if missing or absent else "supported"
    lacking = f"; not measured: {', '.join([*missing, *absent])}" * bool(missing or absent)
    return Finding(claim, verdict, _reason(claim.check, rows, verdict) + lacking, rows)


def _reason(check: Check, rows: pd.DataFrame, verdict: Verdict) -> str:
    settings = rows[rows["setting"] != ALL_SETTINGS]
    allowed = f" (or within {100 * check.margin:g} points)" * (check.margin > 0)
    ahead, resolved = settings["lead"] > 0, settings["p"] <= ALPHA
    rivals, places = settings["rival"].nunique(), settings["setting"].nunique()
    text = (
        f"{check.method} is ahead{allowed} in {ahead.sum()} of {len(settings)} comparisons with "
        f"{_count(rivals, 'method')} in {_count(places, 'setting')}, {(ahead & resolved).sum()} of them resolved"
    )
    behind = rows[(rows["lead"] < 0) & (rows["p_holm"] <= ALPHA)] if verdict == "contradicted" else settings[~ahead]
    if len(behind):
        worst = behind.iloc[int(behind["lead"].argmin())]
        text += f"; furthest behind {worst['rival']} in {worst['setting']}: {100 * worst['value']:+.1f} points of "
        text += f"{worst['metric']}, p = {worst['p_holm']:.2g} after Holm over {len(rows)}"
    if verdict == "not resolved" and (why := reach(int(settings["n"].min()))):
        text += f"; {why}"
    return text


def _comparisons(check: Check, runs: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """One row a metric, rival and setting, and one over all settings where there are several.

    `value` is the method minus the rival, `lead` how far ahead that is with the margin granted; low, high and p are
    those of the lead.
    """
    columns = ["metric", "rival", "setting", "value", "lead", "low", "high", "n", "p", "least"]
    rows: list[dict[str, Any]] = []
    if (runs["status"] == "done").any() and check.method in set(runs["method"]):
        for metric in check.metrics:
            table = paired(runs, metric)
            sign = -1 if lower_is_better(metric) else 1
            for rival in check.against(list(table.columns)):
                both = sign * table[[check.method, rival]].dropna()
                parts = list(both.groupby(level="setting", sort=False))
                for setting, part in [*parts, *[(ALL_SETTINGS, both)] * (len(parts) > 1)]:
                    found = stats.paired_difference(
                        part[check.method] + check.margin,
                        part[rival],
                        generator,
                        part.index.get_level_values("setting"),
                    )
                    value = sign * (found.value - check.margin)
                    rows.append(dict(zip(columns, (metric, rival, setting, value, *found), strict=True)))
    frame = pd.DataFrame(rows, columns=columns)
    return frame.assign(p_holm=stats.holm(frame["p"].to_numpy(dtype=float)))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(str(name), pattern) for pattern in patterns)
