"""Comparisons and findings as text and JSON."""

import json
from collections.abc import Sequence
from textwrap import indent
from typing import Any

import pandas as pd

from fedprompt.results.claims.verification import Finding
from fedprompt.results.statistics.inference import Estimate
from fedprompt.results.statistics.pairs import (
    ALL_SETTINGS,
    BETTER,
    UNTESTABLE,
    WORSE,
    counted,
    is_accuracy,
    untestable,
)


def as_json(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain objects, null for NaN."""
    return list(json.loads(frame.to_json(orient="records", double_precision=15)))


def comparison(
    frame: pd.DataFrame, a: str, b: str, metric: str, improvement: Estimate, table: pd.DataFrame, family: str = "pair"
) -> str:
    """The rows of `pairs.differences` of two methods, one line per setting, and the family that p is adjusted for.

    `table` holds the rows of all methods minus `b`, which `bench table --reference` shows: the family "all". Where it
    differs from the family "pair", a line says so.
    """
    settings = frame[frame["setting"] != ALL_SETTINGS]
    shown = settings if len(settings) == 1 else frame
    in_percent = is_accuracy(metric)
    width = max(len(setting) for setting in shown["setting"])
    lines = [f"{a} minus {b}, {metric}{', points' * in_percent}; runs paired by setting and seed"]
    for row in as_json(shown):
        lines.append(f"  {row['setting']:<{width}}  {_numbers(row, 100 if in_percent else 1)}")
    if improvement.n:
        lines.append(
            f"  {a} is better in {improvement.value:.0%} of {counted(improvement.n, 'pair')} "
            f"(95 % exact interval {improvement.low:.0%} to {improvement.high:.0%})"
        )
    lines += _family(shown, table, b, metric, family)
    if why := untestable(int(frame["seeds"].max())):
        lines.append(f"  {why}")
    return "\n".join(lines)


def _family(shown: pd.DataFrame, table: pd.DataFrame, b: str, metric: str, family: str) -> list[str]:
    """The comparisons that p is adjusted for, and where the table of all methods comes to another verdict."""
    count, methods = len(shown), table["method"].nunique()
    where = f"{counted(table['setting'].nunique() - 1, 'setting')}{' and in their mean' * (count > 1)}"
    whole = f"{counted(methods * count, 'comparison')} of `bench table --reference {b} --metric {metric}`"
    if family == "all":
        return [f"  family: the {whole}: {counted(methods, 'method')} minus {b} in {where}; p adjusted by max-T"]
    lines = [
        f"  family: this pair in {where}, {counted(count, 'comparison')}, if it was chosen before the runs; "
        "p adjusted by max-T"
    ]
    same = table.set_index(["setting", "method"])["verdict"].reindex(shown.set_index(["setting", "method"]).index)
    significant = shown["verdict"].isin((BETTER, WORSE)).to_numpy()
    other = shown.loc[significant & (shown["verdict"].to_numpy() != same.to_numpy()), "setting"]
    if len(other):
        lines.append(f"  not significant among the {whole} (--family all): {', '.join(other)}")
    return lines


def clients(frame: pd.DataFrame, a: str, b: str) -> str:
    """The rows of `pairs.per_client`, one line per run, and their limit."""
    lines = [f"{a} minus {b}, accuracy of seen clients, points; clients paired within one run, one line per run"]
    for row in as_json(frame):
        lines.append(f"  {row['setting']} seed {row['seed']}: {_numbers(row, 100, 'client')}")
    family = f"  family: {counted(len(frame), 'run')}; p adjusted by max-T"
    lines.append(f"{family}; valid for these two trained models, not for other seeds")
    return "\n".join(lines)


def findings(found: Sequence[Finding]) -> str:
    """One paragraph per claim: verdict, wording, source and numbers; then, separately, other settings."""
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
        and {"would_be": elsewhere.verdict, "reason": elsewhere.reason, "comparisons": as_json(elsewhere.comparisons)},
    }


def published(frame: pd.DataFrame) -> str:
    """Published and measured numbers, one table per source, with the reason why they cannot be compared."""
    if frame.empty:
        return "none of the methods in these runs has a published number on record"
    parts = []
    for source, rows in frame.groupby("source", sort=False):
        lines = [f"{source}: {rows['protocol'].iloc[0]}", f"  comparable? {rows['comparable'].iloc[0]}"]
        for row in rows.to_dict("records"):
            alpha = "" if pd.isna(row["alpha"]) else f"({row['alpha']:g})"
            setting = f"{row['dataset']} {row['partition']}{alpha}"
            ours = f"{100 * row['measured']:.1f} ({counted(row['seeds'], 'run')})" if row["seeds"] else "not run"
            lines.append(f"  {row['method']:<16} {setting:<32} published {100 * row['published']:.1f}  measured {ours}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _numbers(row: dict[str, Any], scale: int, unit: str = "pair") -> str:
    if not row["n"]:
        return "no pair"
    interval = "" if pd.isna(row["low"]) else f" [{_signed(scale * row['low'])}, {_signed(scale * row['high'])}]"
    pairs = counted(row["n"], unit)
    if unit == "pair":
        pairs = counted(row["seeds"], "seed") if row["n"] == row["seeds"] else f"{pairs} of {row['seeds']} seeds"
    verdict = row["verdict"]
    if verdict == UNTESTABLE:
        tests = f"{pairs}: {verdict}"
    else:
        verdict = f"significantly {verdict}" if verdict in (BETTER, WORSE) else verdict
        tests = f"{pairs}, p = {row['p']:.2g}, adjusted {row['p_adjusted']:.2g}: {verdict}"
    margin = f"; against the margin: {row['practical']}" if "practical" in row else ""
    return f"{_signed(scale * row['value'])}{interval}  {tests}{margin}"


def _signed(value: float) -> str:
    """Three significant digits with a sign; a remainder of rounding is shown as +0."""
    return f"{round(value, 9) + 0.0:+.3g}"


def _finding(finding: Finding) -> str:
    claim, elsewhere = finding.claim, finding.elsewhere
    lines = [f"{claim.id}: {finding.verdict}", f"  {claim.wording}", f"  ({claim.source})", f"  {finding.reason}."]
    if elsewhere:
        settings = elsewhere.comparisons["setting"]
        names = ", ".join(dict.fromkeys(settings[settings != ALL_SETTINGS]))
        lines.append("  In other settings, which the claim does not cover and which do not affect the verdict:")
        lines.append(indent(f"on {names}: {elsewhere.reason}; the same rule gives: {elsewhere.verdict}.", "    "))
    return "\n".join(lines)
