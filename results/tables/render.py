"""Leaderboard -> text, csv, md, latex, json."""

import json
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd

from fedprompt.results.errors import unknown
from fedprompt.results.statistics.pairs import ALL_SETTINGS
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

OPEN = "†"


def render(frame: pd.DataFrame, fmt: str, width: int = 100) -> str:
    """A table as `text` (of at most `width` columns where one setting fits), `md`, `latex`, `csv` or `json`.

    The first three show percent, mark the best of each column and end with notes; csv and json hold the numbers as they
    are, one row for each method, setting and metric. Raises RecordError for an unknown format.
    """
    writers: dict[str, Callable[[pd.DataFrame], str]] = {
        "text": partial(_text, width=width),
        "csv": _csv,
        "md": _markdown,
        "latex": _latex,
        "json": _json,
    }
    if fmt not in writers:
        raise unknown("format", fmt, writers)
    return writers[fmt](frame)


def _text(frame: pd.DataFrame, width: int) -> str:
    rows, found = methods(frame), blocks(frame)
    margin = max(len(name) for name in ["method", *rows])
    # The narrower gap is worth it only where it brings more settings side by side.
    settings = [block for block in found if block.setting not in (ALL_SETTINGS, PER_RUN)]
    gap = min((2, 1), key=lambda gap: len(_pages(settings, width - margin, gap)))
    pages = []
    for page in _pages(found, width - margin, gap):
        columns = [_lines(block, gap) for block in page]
        names = [name.ljust(margin) for name in ["", "method", *rows]]
        lines = ["".join(parts).rstrip() for parts in zip(names, *columns, strict=True)]
        body = [
            text
            for family, line in zip(families(frame), lines[2:], strict=True)
            for text in [f"{family}:", line][not family :]
        ]
        pages.append("\n".join([*lines[:2], "-" * max(map(len, lines)), *body]))
    return "\n\n".join([*pages, "\n".join([*notes(frame), *legend(frame, "*", OPEN)])]) + "\n"


def _pages(found: Sequence[Block], width: int, gap: int) -> list[list[Block]]:
    """The blocks in order, as many side by side as fit."""
    pages: list[list[Block]] = []
    left = 0
    for block in found:
        size = len(_lines(block, gap)[0])
        if not pages or size > left:
            pages.append([])
            left = width
        pages[-1].append(block)
        left -= size
    return pages


def _lines(block: Block, gap: int) -> list[str]:
    """A setting's columns, aligned and of one width: its name, its headings, its rows."""
    columns = []
    for name, column in zip(block.headings, block.columns, strict=True):
        # The mark stands where the space before the spread would, so that it costs no width.
        spread = max(len(entry.spread) for entry in column)
        shown = [entry.value + _mark(entry) + entry.spread.ljust(spread) for entry in column]
        size = max(len(name), *(len(entry.rstrip()) for entry in shown))
        columns.append([" " * gap + entry[:size].rjust(size) for entry in [name, *shown]])
    rows = ["".join(row) for row in zip(*columns, strict=True)]
    size = max(len(rows[0]), gap + len(block.setting))
    return [" " * gap + block.setting.center(size - gap), *(row.rjust(size) for row in rows)]


def _mark(entry: Entry) -> str:
    return "*" if entry.best else OPEN if entry.open else " "


def _markdown(frame: pd.DataFrame) -> str:
    found = blocks(frame)
    names = ["method", *(f"{block.setting}: {name}" for block in found for name in block.headings)]
    rows = [names, ["---", *["---:"] * (len(names) - 1)]]
    for i, (method, family) in enumerate(zip(methods(frame), families(frame), strict=True)):
        entries = [column[i] for block in found for column in block.columns]
        shown = [
            (f"**{entry.value}**" if entry.best else entry.value + OPEN * entry.open) + f" {entry.spread}"
            for entry in entries
        ]
        rows += [[f"*{family}*", *[""] * len(entries)]] * bool(family)
        rows.append([method, *(entry.strip() for entry in shown)])
    lines = ["| " + " | ".join(entry.replace("|", r"\|") for entry in row) + " |" for row in rows]
    return "\n".join([*lines, "", "  \n".join([*notes(frame), *legend(frame, "Bold", OPEN)])]) + "\n"


def _latex(frame: pd.DataFrame) -> str:
    found = blocks(frame)
    spans, rules, start = [], [], 2
    for block in found:
        end = start + len(block.headings) - 1
        spans.append(rf"\multicolumn{{{len(block.headings)}}}{{c}}{{{_escaped(block.setting)}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{end}}}")
        start = end + 1
    rows = [["method", *(_escaped(name) for block in found for name in block.headings)]]
    body = [" & ".join(rows.pop()) + r" \\"]
    for i, (method, family) in enumerate(zip(methods(frame), families(frame), strict=True)):
        if family:
            body += [r"\addlinespace"] * (i > 0)
            body.append(rf"\multicolumn{{{start - 1}}}{{l}}{{\emph{{{_escaped(family)}}}}} \\")
        row = [_escaped(method), *(_latex_entry(column[i]) for block in found for column in block.columns)]
        body.append(" & ".join(row) + r" \\")
    caption = ". ".join(_escaped(note) for note in [*notes(frame), *legend(frame, "Bold", OPEN)])
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}.}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (start - 2)}}}",
            r"\toprule",
            " & ".join(["", *spans]) + r" \\",
            " ".join(rules),
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _latex_entry(entry: Entry) -> str:
    value = (
        rf"\textbf{{{entry.value}}}" if entry.best else _escaped(entry.value) + r"\textsuperscript{\dag}" * entry.open
    )
    return f"{value} {_escaped(entry.spread)}".strip()


def _escaped(plain: str) -> str:
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        OPEN: r"\dag{}",
    }
    special |= {character: "\\" + character for character in "&%$#_{}"}
    return "".join(special.get(character, character) for character in plain)


def _long(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each method, setting and metric, in the table's order, with the columns of the statistics."""
    long = frame.stack(["setting", "metric"], future_stack=True).reset_index()
    names = [*frame.index.names, "setting", "metric"]
    if is_difference(frame):
        return long[[*names, "value", "low", "high", "n", "p", "least", "p_holm", "verdict"]]
    counts = long[["seeds", "failed"]].astype("Int64")
    return long[[*names, "mean", "std", "low", "high", "p_best"]].join(counts)


def _csv(frame: pd.DataFrame) -> str:
    return _long(frame).to_csv(index=False)


def _json(frame: pd.DataFrame) -> str:
    rows = _long(frame).astype(object)
    return json.dumps(rows.where(rows.notna(), None).to_dict("records"), indent=2) + "\n"
