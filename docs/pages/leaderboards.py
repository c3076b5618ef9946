"""Generates the leaderboard page: a table per published folder of runs."""

from collections.abc import Iterable
from pathlib import Path

from docs.pages.page import Page, escape, sections
from docs.pages.repository import LINK
from fedprompt.results.records.frames import load
from fedprompt.results.tables.leaderboard import leaderboard, render

METRICS = ("seen.mean", "held_out.mean")
CHOICE = ("validation.mean",)  # of runs that keep validation samples: they serve a choice, not a report
PLACE = "leaderboards.md"


def page(root: Path) -> Page:
    """The page of all folders of `results/published` that have runs; links go to their READMEs on the site."""
    folders = sorted(path.parent for path in root.glob("results/published/*/runs.parquet"))
    introduction = (
        "One table per published folder, rendered from its records: mean accuracy of seen and of held-out clients in "
        "percent, over seeds. Tables of different folders are not comparable: data, backbone, rounds and the version "
        "of the scores differ. Runs that keep validation samples are ranked by these. "
        "`bench submit` makes such a folder of your runs, for a pull request."
    )
    return Page(PLACE, "Leaderboards", sections("# Leaderboards", introduction, *map(_board, folders)))


def _board(folder: Path) -> str:
    runs = load(folder)
    data, backbones = _names(runs["dataset"]), _names(runs["backbone"])
    title = f"## {escape(data)} with {escape(backbones)} ({escape(folder.name)})"
    link = f"[`{folder.name}`](published/{folder.name}/README.md): {len(runs)} runs, seeds {_names(runs['seed'])}"
    metrics = CHOICE if (runs["config.validation"] > 0).any() else METRICS
    readme = (folder / "README.md").read_text(encoding="utf-8")
    return sections(title, link, notes(readme), render(leaderboard(runs, metrics, intervals=False), "md"))


def notes(readme: str) -> str:
    """The quoted paragraph at the top of a README, which states the version and the limits of its scores.

    Its links are left out: they are relative to the README.
    """
    above = readme.partition("\n## ")[0].splitlines()
    quoted = [line for line in above if line.startswith(">")]
    return LINK.sub(lambda match: match[2], "\n".join(quoted))


def _names(values: Iterable[object]) -> str:
    return ", ".join(sorted({str(value) for value in values}))
