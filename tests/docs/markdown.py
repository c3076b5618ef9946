"""Parses the project's Markdown files: fenced blocks, code spans, links and headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markdown.extensions.toc import slugify

ROOT = Path(__file__).parents[2]
FILES = [path for pattern in ("*.md", "docs/*.md", "results/published/**/*.md") for path in sorted(ROOT.glob(pattern))]
FENCE = re.compile(r"((?:^<!--[^\n]*-->\n)?)^```(\w*)([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: language, rest of the fence line, text, and the comment on the line above."""

    language: str
    extra: str
    text: str
    comment: str
    line: int

    @property
    def title(self) -> str:
        """The file that the block is saved as; empty for none."""
        return "".join(re.findall(r'title="(.*?)"', self.extra))

    @property
    def skipped(self) -> str:
        """Why the block is not run; empty if it is."""
        return "".join(re.findall(r"<!-- not run: (.+) -->", self.comment))

    @property
    def code(self) -> int:
        """The expected exit code."""
        return int("".join(re.findall(r"<!-- exits with (\d+) -->", self.comment)) or 0)


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a text, in order."""
    return [Block(m[2], m[3], m[4], m[1].strip(), text[: m.start(2)].count("\n") + 1) for m in FENCE.finditer(text)]


def prose(text: str) -> str:
    """The text without its fenced blocks."""
    return FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Targets of links and images inside the project."""
    targets = LINK.findall(SPAN.sub("`code`", prose(text)))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """The anchors that the site gives to a text's headings."""
    headings = re.findall(r"^#+ +(.+)$", prose(text), re.MULTILINE)
    return {slugify(re.sub(r"[`*]", "", heading), "-") for heading in headings}


def commands(shell: str) -> Iterator[list[str]]:
    """The words of each shell command, without comments; `&&`, `;` and `|` separate commands."""
    for line in shell.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        words.whitespace_split = True
        for operator, group in groupby(words, lambda word: not set(word) - set(";&|")):
            if not operator:
                yield list(group)
