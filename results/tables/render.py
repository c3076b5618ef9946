"""Leaderboard -> text, csv, md, latex, json."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from html import escape

import pandas as pd

from fedprompt.results.errors import check_known
from fedprompt.results.io import csv
from fedprompt.results.statistics.convergence import CLIMBING
from fedprompt.results.statistics.pairs import ALL_SETTINGS
from fedprompt.results.statistics.trivial import BELOW
from fedprompt.results.tables import federation
from fedprompt.results.tables.entries import (
    PER_RUN,
    Block,
    Entry,
    blocks,
    families,
    is_difference,
    legend,
    methods,
    notes,
)

TIED = "†"


def render(frame: pd.DataFrame, fmt: str, width: int = 100) -> str:
    """A table of `leaderboard` or `difference_table` as text.

    Formats "text" (at most `width` characters wide, if a single setting fits), "md" and "latex" show percent, mark the
    best methods of each column and end with notes. "csv" and "json" contain the unrounded numbers, one row per method,
    setting and metric. Raises RecordError for an unknown format.
    """
    writers: dict[str, Callable[[pd.DataFrame], str]] = {
        "text": partial(_text, width=width),
        "csv": lambda frame: csv(_long(frame)),
        "md": _markdown,
        "latex": _latex,
        "json": _json,
    }
    check_known("format", [fmt], writers)
    return writers[fmt](frame)


def _text(frame: pd.DataFrame, width: int) -> str:
    rows, parts = methods(frame), blocks(frame)
    margin = max(len(name) for name in ["method", *rows])
    # Use the narrower gap only if it fits more settings side by side.
    settings = [block for block in parts if block.setting not in (ALL_SETTINGS, PER_RUN)]
    gap = min((2, 1), key=lambda gap: len(_pages(settings, width - margin, gap)))
    pages = []
    for page in _pages(parts, width - margin, gap):
        columns = [_lines(block, gap) for block in page]
        names = [name.ljust(margin) for name in ["", "method", *rows]]
        lines = ["".join(line).rstrip() for line in zip(names, *columns, strict=True)]
        body = [
            text
            for family, line in zip(families(frame), lines[2:], strict=True)
            for text in ([f"{family}:", line] if family else [line])
        ]
        pages.append("\n".join([*lines[:2], "-" * max(map(len, lines)), *body]))
    return "\n\n".join([*pages, "\n".join([*notes(frame), *legend(frame, "*", TIED)])]) + "\n"


def _pages(parts: Sequence[Block], width: int, gap: int) -> list[list[Block]]:
    """The blocks in order, as many side by side as fit."""
    pages: list[list[Block]] = []
    left = 0
    for block in parts:
        size = len(_lines(block, gap)[0])
        if not pages or size > left:
            pages.append([])
            left = width
        pages[-1].append(block)
        left -= size
    return pages


def _lines(block: Block, gap: int) -> list[str]:
    """The lines of a setting, aligned and of equal width: its name, its headings, its rows."""
    columns = []
    for name, column in zip(block.headings, block.columns, strict=True):
        # A mark replaces the space before the spread, so it needs no width.
        spread = max(len(entry.spread) for entry in column)
        marks = [_marks(entry) for entry in column]
        width = max(1, *map(len, marks))
        shown = [
            entry.value + mark.ljust(width) + entry.spread.ljust(spread)
            for entry, mark in zip(column, marks, strict=True)
        ]
        size = max(len(name), *(len(entry.rstrip()) for entry in shown))
        columns.append([" " * gap + entry[:size].rjust(size) for entry in [name, *shown]])
    rows = ["".join(row) for row in zip(*columns, strict=True)]
    size = max(len(rows[0]), gap + len(block.setting))
    return [" " * gap + block.setting.center(size - gap), *(row.rjust(size) for row in rows)]


def _marks(entry: Entry, bold: str = "*") -> str:
    return bold * entry.bold + TIED * entry.tied + BELOW * entry.below + CLIMBING * entry.climbing


def _rows(frame: pd.DataFrame) -> list[tuple[str, str, list[Entry]]]:
    """For each row the family that starts there or "", the method and the entries."""
    columns = [column for block in blocks(frame) for column in block.columns]
    entries = [list(row) for row in zip(*columns, strict=True)]
    return list(zip(families(frame), methods(frame), entries, strict=True))


def _markdown(frame: pd.DataFrame) -> str:
    names = ["method", *(f"{block.setting}: {name}" for block in blocks(frame) for name in block.headings)]
    rows = [names, ["---", *["---:"] * (len(names) - 1)]]
    for family, method, entries in _rows(frame):
        rows += [[f"*{family}*", *[""] * len(entries)]] * bool(family)
        rows.append([method, *(_markdown_entry(entry) for entry in entries)])
    lines = ["| " + " | ".join(entry.replace("|", r"\|") for entry in row) + " |" for row in rows]
    text = "\n".join([*lines, "", "  \n".join([*notes(frame), *legend(frame, "Bold", TIED)])]) + "\n"
    return escape(text, quote=False)


def _markdown_entry(entry: Entry) -> str:
    value = f"**{entry.value}**" if entry.bold else entry.value
    return f"{value}{_marks(entry, '')} {entry.spread}".strip()


def _latex(frame: pd.DataFrame) -> str:
    spans, rules, names, start = [""], [], ["method"], 2
    for block in blocks(frame):
        stop = start + len(block.headings)
        spans.append(rf"\multicolumn{{{stop - start}}}{{c}}{{{_escaped(block.setting)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{stop - 1}}}")
        names += [_escaped(name) for name in block.headings]
        start = stop
    body: list[str] = []
    for family, method, entries in _rows(frame):
        if family:
            body += [r"\addlinespace"] * bool(body)
            body.append(rf"\multicolumn{{{len(names)}}}{{l}}{{\emph{{{_escaped(family)}}}}} \\")
        body.append(" & ".join([_escaped(method), *map(_latex_entry, entries)]) + r" \\")
    caption = ". ".join(_escaped(note) for note in [*notes(frame), *legend(frame, "Bold", TIED)])
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}.}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(names) - 1)}}}",
            r"\toprule",
            " & ".join(spans) + r" \\",
            " ".join(rules),
            " & ".join(names) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _latex_entry(entry: Entry) -> str:
    marks = _escaped(_marks(entry, ""))
    marks = rf"\textsuperscript{{{marks}}}" if marks else ""
    value = rf"\textbf{{{entry.value}}}" if entry.bold else _escaped(entry.value)
    return f"{value}{marks} {_escaped(entry.spread)}".strip()


def _escaped(plain: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
    special |= {
        TIED: r"\dag{}",
        BELOW: r"$\downarrow$",
        CLIMBING: r"$\nearrow$",
        **{character: "\\" + character for character in "&%$#_{}"},
    }
    return "".join(special.get(character, character) for character in plain)


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per method, setting and metric, in the table's order: its statistics, and its setting's federation."""
    long = frame.stack(["setting", "metric"], future_stack=True).reset_index()
    names = [*frame.index.names, "setting", "metric"]
    if is_difference(frame):
        numbers = long[[*names, "value", "low", "high", "n", "seeds", "p", "least", "p_adjusted", "verdict"]]
    else:
        statistics = [*names, "mean", "std", "low", "high", "p_best", "mark", "below_majority", "climbing"]
        numbers = long.reindex(columns=statistics).join(long[["seeds", "failed"]].astype("Int64"))
    return numbers.join(federation.columns(frame, numbers["setting"]))


def _json(frame: pd.DataFrame) -> str:
    rows = _long(frame).astype(object)
    return json.dumps(rows.where(rows.notna(), None).to_dict("records"), indent=2) + "\n"
