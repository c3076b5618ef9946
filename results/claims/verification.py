"""Checks claims of papers, read from a YAML file, against measured runs."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fedprompt.results.errors import RecordError
from fedprompt.results.io import read_yaml, reason
from fedprompt.results.statistics.pairs import (
    ALL_SETTINGS,
    ALPHA,
    bootstrapped,
    check_metrics,
    counted,
    lower_is_better,
    paired,
    seed_shares,
    untestable,
    with_tests,
)

OURS = Path(__file__).with_name("claims.yaml")
Verdict = Literal["supported", "contradicted", "not significant", "not tested"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(_Strict):
    """The settings of a claim: shell patterns for data set, partition and backbone."""

    datasets: tuple[str, ...] = ("*",)
    partitions: tuple[str, ...] = ("*",)
    backbones: tuple[str, ...] = ("*",)

    def select(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The runs in these settings."""
        inside = pd.Series(True, index=runs.index)
        for column in ("dataset", "partition", "backbone"):
            patterns = getattr(self, f"{column}s")
            inside &= runs[column].map(lambda name, patterns=patterns: _matches(name, patterns)).astype(bool)
        return runs[inside]

    def missing(self, runs: pd.DataFrame) -> list[str]:
        """The patterns of `datasets` that match no run."""
        return [pattern for pattern in self.datasets if not any(_matches(name, [pattern]) for name in runs["dataset"])]


class Check(_Strict):
    """What must hold in every setting and for every metric.

    `beats_all`: the method is better than every other method; `beats`: than the baselines; `within`: it is worse than
    the baselines by at most `margin`.
    """

    kind: Literal["beats_all", "beats", "within"]
    method: str
    metrics: tuple[str, ...]
    baselines: tuple[str, ...] = Field(default=(), validation_alias=AliasChoices("baselines", "rivals"))
    margin: float = 0.0

    def against(self, methods: Sequence[str]) -> list[str]:
        """The methods to compare with, among those that were run; never variants of the method itself."""
        if self.kind == "beats_all":
            return [name for name in methods if re.split("[:+ ]", name)[0] != self.method]
        return [name for name in self.baselines if name in methods]


class Claim(_Strict):
    """A paper's claim in our words, the settings it refers to and how it is checked."""

    id: str
    source: str
    wording: str
    settings: Settings = Field(validation_alias=AliasChoices("settings", "cells"))
    check: Check


class Finding(NamedTuple):
    """The verdict on a claim, the reason in one sentence, and all comparisons.

    `elsewhere` is the same check in the settings that the claim does not refer to; it does not affect the verdict.
    """

    claim: Claim
    verdict: Verdict
    reason: str
    comparisons: pd.DataFrame
    elsewhere: "Finding | None" = None


def read(path: str | Path = OURS) -> list[Claim]:
    """The claims of a YAML file. Raises RecordError, which names the faulty place."""
    try:
        content = read_yaml(Path(path))
        claims = TypeAdapter(list[Claim]).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"{path} is not a list of claims: {place}: {first['msg']}; see {OURS}") from error
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {reason(error)}") from error
    except ValueError as error:
        raise RecordError(f"{path} cannot be read: {error}") from error
    for claim in claims:
        check = claim.check
        if (check.kind == "within") != (check.margin > 0) or (check.kind == "beats_all") == bool(check.baselines):
            raise RecordError(
                f"{path}: {claim.id}: beats_all must not name baselines, beats and within must; "
                "within must have a margin, the others must not"
            )
    return claims


def verify(runs: pd.DataFrame, claims: Sequence[Claim], generator: np.random.Generator) -> list[Finding]:
    """One finding per claim. Raises RecordError for a metric that the records do not have."""
    findings = []
    for claim in claims:
        check_metrics(runs, claim.check.metrics, f"metric of {claim.id}")
        inside = claim.settings.select(runs)
        finding = assess(claim, inside, generator)
        elsewhere = assess(claim, runs.drop(inside.index), generator, elsewhere=True)
        findings.append(finding._replace(elsewhere=None if elsewhere.verdict == "not tested" else elsewhere))
    return findings


def assess(claim: Claim, runs: pd.DataFrame, generator: np.random.Generator, elsewhere: bool = False) -> Finding:
    """The finding on these runs only; `elsewhere`: outside the claim's settings, where no data set is required.

    Supported: in every setting, for every metric and baseline, the method is ahead with p <= 0.05. As all must hold,
    none is corrected (an intersection-union test). Contradicted: some comparison, in a setting or in the mean over all
    settings, is significant in the other direction by max-T over all. Not tested: no pair of runs, or a data set or
    baseline is missing.
    """
    rows = _comparisons(claim.check, runs, generator)
    if rows.empty:
        reason = f"no finished pair of {claim.check.method} and a baseline on {', '.join(claim.settings.datasets)}"
        return Finding(claim, "not tested", reason, rows)
    settings = rows[rows["setting"] != ALL_SETTINGS]
    missing = [] if elsewhere else claim.settings.missing(runs)
    missing += [name for name in claim.check.baselines if name not in set(settings["baseline"])]
    if ((rows["lead"] < 0) & (rows["p_adjusted"] <= ALPHA)).any():
        verdict: Verdict = "contradicted"
    elif not ((settings["lead"] > 0) & (settings["p"] <= ALPHA)).all():
        verdict = "not significant"
    else:
        verdict = "not tested" if missing else "supported"
    not_measured = f"; not measured: {', '.join(missing)}" * bool(missing)
    return Finding(claim, verdict, _reason(claim.check, rows, verdict) + not_measured, rows)


def _reason(check: Check, rows: pd.DataFrame, verdict: Verdict) -> str:
    settings = rows[rows["setting"] != ALL_SETTINGS]
    allowed = f" (or within {100 * check.margin:g} points)" * (check.margin > 0)
    ahead, significant = settings["lead"] > 0, settings["p"] <= ALPHA
    text = (
        f"{check.method} is ahead{allowed} in {ahead.sum()} of {len(settings)} comparisons with "
        f"{counted(settings['baseline'].nunique(), 'method')} in {counted(settings['setting'].nunique(), 'setting')}, "
        f"{(ahead & significant).sum()} of them significant"
    )
    behind = rows[(rows["lead"] < 0) & (rows["p_adjusted"] <= ALPHA)] if verdict == "contradicted" else settings[~ahead]
    if len(behind):
        worst = behind.iloc[int(behind["lead"].argmin())]
        text += f"; furthest behind {worst['baseline']} in {worst['setting']}: {100 * worst['value']:+.1f} points of "
        text += f"{worst['metric']}, p = {worst['p_adjusted']:.2g} by max-T over {len(rows)}"
    if verdict == "not significant" and (why := untestable(int(settings["n"].min()))):
        text += f"; {why}"
    return text


def _comparisons(check: Check, runs: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """One row per metric, baseline and setting, and one over all settings if there are several.

    `value` is the method minus the baseline; `lead` is how far the method is ahead, including the margin; low, high and
    p refer to the lead.
    """
    rows: list[dict[str, Any]] = []
    units = []
    if (runs["status"] == "done").any() and check.method in set(runs["method"]):
        for metric in check.metrics:
            table = paired(runs, metric)
            sign = -1 if lower_is_better(metric) else 1
            for baseline in check.against(list(table.columns)):
                leads = (sign * (table[check.method] - table[baseline])).dropna() + check.margin
                parts = list(leads.groupby(level="setting", sort=False))
                for setting, part in [*parts, *[(ALL_SETTINGS, leads)] * (len(parts) > 1)]:
                    names = {"metric": metric, "baseline": baseline, "setting": setting}
                    rows.append(names | bootstrapped(part, generator))
                    units.append(seed_shares(part.to_frame())[ALL_SETTINGS])
    frame = pd.DataFrame(rows, columns=["metric", "baseline", "setting", "value", "low", "high", "n"])
    if frame.empty:
        return frame
    tested = with_tests(frame, pd.concat(units, axis=1).to_numpy(dtype=float), generator).drop(columns="verdict")
    signs = np.where(frame["metric"].map(lower_is_better), -1, 1)
    return tested.assign(lead=frame["value"], value=signs * (frame["value"] - check.margin))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(str(name), pattern) for pattern in patterns)
