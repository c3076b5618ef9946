"""A page of the site, and the pieces of Markdown that made pages are put together from."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A made page: where it lies in the site's sources, what the navigation calls it, and its Markdown."""

    path: str
    title: str
    text: str


def plain(text: str) -> str:
    """A docstring's text as Markdown that shows every sign of it; what stands between backticks stays code."""
    parts = text.split("`")
    shown = [re.sub(r"([*_\[\]|#])", r"\\\1", html.escape(part, quote=False)) for part in parts[::2]]
    code = [f"`{part}`" for part in parts[1::2]]
    return "".join(word for pair in zip(shown, [*code, ""], strict=False) for word in pair)


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """SweepOptions in code, each with its meaning below it: narrow enough for a phone, where a table is not."""
    return "\n".join(f"`{term}`\n:   {meaning}\n" for term, meaning in pairs)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0) -> str:
    """A Markdown table, its last `right` columns set to the right, as numbers are."""
    rule = ["---"] * (len(head) - right) + ["---:"] * right
    return "\n".join(f"| {' | '.join(settings)} |" for settings in (head, rule, *rows)) + "\n"


def sections(*parts: str) -> str:
    """Pieces of Markdown with an empty line between them; empty pieces are left out."""
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
