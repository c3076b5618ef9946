"""Comparisons and findings -> the lines that a reader sees, and json."""

import json
from collections.abc import Sequence
from textwrap import indent
from typing import Any

import pandas as pd

from fedprompt.results.claims.verification import Finding
from fedprompt.results.statistics.inference import Estimate
from fedprompt.results.statistics.pairs import ALL_SETTINGS, UNRESOLVED, reach


def as_json(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain objects, null where there is no number."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", double_precision=15))
    return rows


def comparison(frame: pd.DataFrame, a: str, b: str, metric: str, improvement: Estimate) -> str:
    """The rows of `pairs.differences` of two methods, a line a setting, and what the pairs could resolve."""
    settings = frame[frame["setting"] != ALL_SETTINGS]
    shown = settings if len(settings) == 1 else frame
    share = "." in metric and not metric.endswith(".clients")
    width = max(len(setting) for setting in shown["setting"])
    lines = [f"{a} minus {b}, {metric}{', points' * share}; runs paired by setting and seed"]
    for row in as_json(shown):
        lines.append(f"  {row['setting']:<{width}}  {_numbers(row, 100 if share else 1)}")
    if improvement.n:
        lines.append(
            f"  {a} is the better in {improvement.value:.0%} of {improvement.n} pairs "
            f"(95 % exact interval {improvement.low:.0%} to {improvement.high:.0%})"
        )
    if len(settings) > 1:
        lines.append(f"  p of settings after Holm over {len(settings)} settings; {ALL_SETTINGS}: the mean over them")
    pairs = int(frame["n"].max())
    if pairs and (why := reach(pairs, unit="pair")):
        lines.append(f"  not resolved: {why}")
    return "\n".join(lines)


def clients(frame: pd.DataFrame, a: str, b: str) -> str:
    """The rows of `pairs.per_client`, a line a run, and what they do not say."""
    lines = [f"{a} minus {b}, accuracy of seen clients, points; clients paired within one run, a run a line"]
    for row in as_json(frame):
        lines.append(f"  {row['setting']} seed {row['seed']}: {_numbers(row, 100, 'clients')}")
    lines.append(f"  p after Holm over {len(frame)} runs; it is of these two trained models, and not of another seed")
    return "\n".join(lines)


def findings(found: Sequence[Finding]) -> str:
    """A paragraph a claim: the verdict, the sentence and its source, the numbers, and apart from them other settings."""
    return "\n\n".join(_finding(finding) for finding in found)


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding with all its comparisons, as plain objects."""
    elsewhere = finding.elsewhere
    return {
        "id": finding.claim.id,
        "verdict": finding.verdict,
        "reason": finding.reason,
        "wording": finding.claim.wording,
        "source": finding.claim.source,
        "comparisons": as_json(finding.comparisons),
        "on_other_settings": elsewhere
        and {
            "would_be": elsewhere.verdict,
            "reason": elsewhere.reason,
            "comparisons": as_json(elsewhere.comparisons),
        },
    }


def published(frame: pd.DataFrame) -> str:
    """Published and measured numbers, a table a source, below each what keeps them apart."""
    if frame.empty:
        return "none of the methods run here has a published number on record"
    parts = []
    for source, rows in frame.groupby("source", sort=False):
        lines = [f"{source}: {rows['protocol'].iloc[0]}", f"  comparable? {rows['comparable'].iloc[0]}"]
        for row in rows.to_dict("records"):
            alpha = "" if pd.isna(row["alpha"]) else f"({row['alpha']:g})"
            setting = f"{row['dataset']} {row['partition']}{alpha}"
            seeds = f"{row['seeds']} run{'s' * (row['seeds'] != 1)}"
            ours = f"{100 * row['measured']:.1f} ({seeds})" if row["seeds"] else "not run"
            lines.append(f"  {row['method']:<16} {setting:<32} published {100 * row['published']:.1f}  measured {ours}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _numbers(row: dict[str, Any], scale: int, unit: str = "pairs") -> str:
    if not row["n"]:
        return "no pair"
    interval = "" if pd.isna(row["low"]) else f" [{_signed(scale * row['low'])}, {_signed(scale * row['high'])}]"
    word = row["verdict"] if row["verdict"] == UNRESOLVED else f"{row['verdict']}, resolved"
    tests = f"{row['n']} {unit}, p = {row['p']:.2g}, {row['p_holm']:.2g} after Holm: {word}"
    return f"{_signed(scale * row['value'])}{interval}  {tests}"


def _signed(value: float) -> str:
    """Three digits; what rounding has left of nothing is +0."""
    return f"{round(value, 9) + 0.0:+.3g}"


def _finding(finding: Finding) -> str:
    claim = finding.claim
    lines = [f"{claim.id}: {finding.verdict}", f"  {claim.wording}", f"  ({claim.source})", f"  {finding.reason}."]
    if finding.elsewhere:
        lines += ["  Of other settings, which the claim does not speak of and which do not decide it:"]
        settings = finding.elsewhere.comparisons["setting"]
        names = ", ".join(dict.fromkeys(settings[settings != ALL_SETTINGS]))
        lines.append(
            indent(f"on {names}: {finding.elsewhere.reason}; by the same rule {finding.elsewhere.verdict}.", "    ")
        )
    return "\n".join(lines)
