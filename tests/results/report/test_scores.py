import re

import pytest

from fedprompt.results.records.frames import load
from fedprompt.results.report.metrics import METRICS
from fedprompt.results.report.page import build
from fedprompt.results.report.scores import board
from fedprompt.results.tables.entries import blocks, heading
from fedprompt.results.tables.leaderboard import leaderboard
from fedprompt.results.tables.render import render
from tests.results.published_runs import PUBLISHED, write_runs

SETTING = "digits dirichlet(0.05)"


def scores(runs, *methods):
    """The scores of the only setting, of each method."""
    table = leaderboard(load(runs), ["seen.mean"])
    rows = board(table, blocks(table), "seen.mean", 0, [SETTING])
    found = {name: row[0] for name, row in zip(table.index, rows, strict=True)}
    return [found[name] for name in methods]


def test_scores_have_the_marks_of_the_table(write, runs):
    for seed in range(6):
        write("a", seed=seed, seen=0.70)
        write("majority", seed=seed, seen=0.60)
        write("b", seed=seed, seen=0.50)
        write("c", seed=seed, seen=0.70 - 0.02 * (-1) ** seed - 0.001)
    write("d", error="stopped")
    a, b, c, d = scores(runs, "a", "b", "c", "d")
    assert (a.mean, a.text, a.marks) == (70, "70.0", "~")  # c is not behind
    assert (b.marks, c.marks) == ("↓", "~")
    assert (d.mean, d.text, d.low) == (None, "failed", None)
    page = build(runs)
    assert '50.0<small title="below majority">↓</small>' in page
    assert "↓: below majority, which predicts each client&#39;s most frequent training class." in page


def test_scores_mark_methods_that_still_climb(write, runs):
    write("rising", seen=0.7, convergence={"seen_change": 0.03})
    write("flat", seen=0.5, convergence={"seen_change": 0.01})
    assert [score.marks for score in scores(runs, "rising", "flat")] == ["↗", ""]
    page = build(runs)
    assert page.count("↗</small>") == 2  # in its setting, and in the mean of the only setting
    assert "↗: still climbing" in page


def test_scores_mark_a_method_that_is_better_than_every_other(write, runs):
    for seed in range(6):
        write("a", seed=seed, seen=0.7)
        write("b", seed=seed, seen=0.5)
    assert [score.marks for score in scores(runs, "a", "b")] == ["*", ""]  # p = 2/2^6 = .031


def test_an_interval_says_which_coverage_so_few_seeds_reach(write, runs):
    for seed, seen in enumerate((0.4, 0.5, 0.6)):
        write("a", seed=seed, seen=seen)
    write("b")
    a, b = scores(runs, "a", "b")
    assert 40 <= a.low < 50 < a.high <= 60
    assert a.level == 75  # 1 - 2^(1 - 3)
    assert (b.low, b.high, b.level) == (None, None, None)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The runs of the README's table."""
    directory = tmp_path_factory.mktemp("published") / "runs"
    write_runs(PUBLISHED / "embedded-default", directory)
    return directory


def cells(body):
    """By method, the texts of the cells of a table body of the page."""
    rows = re.findall(r"<tr data-row=.*?</tr>", body, re.DOTALL)
    texts = [
        [re.sub(r"<[^>]*>", "", part) for part in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in rows
    ]
    return {own[0]: [" ".join(text.split()) for text in own[3:]] for own in texts}


@pytest.mark.slow
def test_every_number_of_the_page_is_that_of_the_table(published):
    bodies = re.findall(r"<tbody.*?</tbody>", build(published), re.DOTALL)
    runs, compared = load(published), 0
    for metric, body in zip(METRICS, bodies, strict=True):
        lines = [line.strip("| ").split(" | ") for line in render(leaderboard(runs, [metric]), "md").splitlines()]
        settings = list(dict.fromkeys(runs["setting"]))
        titles = [
            *(f"{name}: {heading(metric)}" for name in ["all settings", *settings]),
            "per run: MB up",
            "per run: s/run",
        ]
        table = {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:] if len(line) == len(lines[0])}
        shown = cells(body)
        assert sorted(shown) == sorted(table)
        for method, texts in shown.items():
            expected = [re.sub(r"[*†↓↗]", "", table[method][title]) for title in titles]
            assert [re.sub(r" ?[~↓↗]", "", text) for text in texts] == expected, (metric, method)
            compared += len(texts)
    assert compared == 7 * 44 * 6  # the mean of all settings, three alphas, upload and seconds per run
