"""The leaderboard page has one table per published folder, with the notes of its README."""

from docs.pages.leaderboards import notes, page
from fedprompt.results.records.frames import load
from tests.docs.markdown import ROOT

FOLDERS = sorted(path.parent for path in ROOT.glob("results/published/*/runs.parquet"))


def test_every_published_folder_has_a_table_of_all_its_methods():
    text = page(ROOT).text
    parts = text.split("\n## ")[1:]
    assert len(parts) == len(FOLDERS) >= 3
    for part, folder in zip(parts, FOLDERS, strict=True):
        runs = load(folder)
        title, link, *_ = part.split("\n\n")
        assert title.replace("\\", "") == f"{runs['dataset'].iloc[0]} with {runs['backbone'].iloc[0]} ({folder.name})"
        assert link.startswith(f"[`{folder.name}`](published/{folder.name}/README.md): {len(runs)} runs")
        rows = [line.split(" | ")[0].removeprefix("| ") for line in part.splitlines() if line.startswith("| ")]
        assert set(rows[2:]) == set(runs["method"])
        choice = bool((runs["config.validation"] > 0).any())
        assert (": validation |" in part, ": held-out |" in part) == (choice, not choice)
        assert ("version 0.2" in part) == (folder.name == "tuned")


def test_notes_are_the_quote_above_the_first_section_without_its_links():
    text = "# A\n\n> **Old** scores, see [x](../y.md).\n> More.\n\ntext\n\n## B\n\n> no note\n"
    assert notes(text) == "> **Old** scores, see x.\n> More."
    assert notes("# A\n\ntext\n") == ""
