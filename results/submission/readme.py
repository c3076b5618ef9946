"""The README of a submission: a checklist for the pull request, and the facts that it rests on."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedprompt.results.submission.facts import Facts
from fedprompt.results.text import escaped

OPEN = (
    "The folder lies in `results/published/`, and `results/published/README.md` has a row for it.",
    "The licences of data and backbone allow these numbers to be published, and I publish them under the licence of "
    "this repository.",
    "No option was chosen by its scores on test samples. (`bench tune` chooses on validation samples.)",
    "The README says in my words what these runs show, and what they do not show.",
    "If times are compared: the machine was idle otherwise.",
)
"""What no program can decide."""


class Repeated(NamedTuple):
    """A run of the sample: whether it has the same numbers again (None: it could not be repeated), and the outcome."""

    run_id: str
    method: str
    setting: str
    seed: int
    same: bool | None
    outcome: str


class Item(NamedTuple):
    """A line of the checklist that the records decide."""

    holds: bool
    text: str


def render(name: str, facts: Facts, commands: Sequence[str], sample: Sequence[Repeated]) -> str:
    """The README of a submission as Markdown."""
    environment = Environment(
        loader=PackageLoader("fedprompt.results.submission", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown; the filter `line` escapes what records contain
    )
    environment.filters["line"] = line
    items = checklist(facts, sample)
    template = environment.get_template("README.md.j2")
    return template.render(name=name, facts=facts, commands=commands, sample=sample, items=items, open=OPEN)


def checklist(facts: Facts, sample: Sequence[Repeated]) -> list[Item]:
    """The items that the records decide."""
    same = sum(run.same is True for run in sample)
    commits = facts.environment.get("git_commit", [])
    return [
        Item(not facts.failed, _with("No run failed", f"{len(facts.failed)} of {facts.runs} did" * bool(facts.failed))),
        Item(
            not facts.gaps,
            _with("Every method has one finished run per setting and seed", "see below" * bool(facts.gaps)),
        ),
        Item(not facts.untestable, _with("There are enough seeds for a significant difference", facts.untestable)),
        Item(bool(facts.clean_commit), _with("All runs are from one commit without local changes", _listed(commits))),
        Item(
            bool(facts.environment) and not facts.mixed,
            _with("All runs have the same software and hardware", _listed(facts.mixed)),
        ),
        Item(
            not facts.climbing and not facts.unstated,
            _with("No method still climbs when its runs end", "see below" * bool(facts.climbing or facts.unstated)),
        ),
        Item(not facts.plugins, _with("No run needs a plug-in file", _listed(facts.plugins))),
        Item(
            bool(sample) and same == len(sample),
            _with("A random sample of runs was repeated with equal numbers", f"{same} of {len(sample)}"),
        ),
    ]


def _with(statement: str, found: str) -> str:
    """The statement, and in brackets what was found."""
    return f"{statement} ({found})." if found else f"{statement}."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(line(name) for name in names if name) or "not stated" * bool(names)


def line(text: object) -> str:
    """Text of a record as part of a line of Markdown, without HTML, links, code or cells of its own."""
    plain = escape(escaped(str(text)), quote=False)
    for sign in ("\\", "`", "*", "[", "]", "|"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain
