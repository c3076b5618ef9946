"""A page of the site, and the Markdown building blocks of generated pages."""

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A generated page: its path in the site's sources, its title in the navigation, and its Markdown."""

    path: str
    title: str
    text: str


def escape(text: str) -> str:
    """Escape a docstring's text so that Markdown shows every character; text in backticks stays code."""
    parts = text.split("`")
    prose = [re.sub(r"([*_\[\]|#])", r"\\\1", html.escape(part, quote=False)) for part in parts[::2]]
    code = [f"`{part}`" for part in parts[1::2]]
    return "".join(word for pair in zip(prose, [*code, ""], strict=False) for word in pair)


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """A definition list: each term as code, its meaning below. Unlike a table, it fits a phone's screen."""
    return "\n".join(f"`{term}`\n:   {meaning}\n" for term, meaning in pairs)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0) -> str:
    """A Markdown table whose last `right` columns are right-aligned."""
    rule = ["---"] * (len(head) - right) + ["---:"] * right
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)) + "\n"


def sections(*parts: str) -> str:
    """Join pieces of Markdown with empty lines; skip empty pieces."""
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
