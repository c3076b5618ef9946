"""The facts of a submission are those of its records, and its README says which of them hold."""

import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records.frames import Runs
from fedprompt.results.submission.facts import facts
from fedprompt.results.submission.readme import OPEN, Repeated, checklist, line, render

CLEAN = {"git_commit": "abc123", "torch": "2.0"}


def ticks(text):
    """The lines of the checklist: whether they are ticked, by their first words."""
    lines = [row[2:] for row in text.splitlines() if row.startswith("- [")]
    return {row[4:16]: row.startswith("[x]") for row in lines}


def test_a_complete_set_of_runs_ticks_every_item_that_records_decide(write, runs):
    for method in ("a", "b"):
        for seed in range(6):
            write(method=method, seed=seed, environment=CLEAN, convergence={"seen_change": 0.01})
    found = facts(Runs(runs))
    sample = [Repeated("r000", "a", "digits dirichlet(0.05)", 0, True, "identical")]
    assert [item.text for item in checklist(found, sample) if not item.holds] == []
    text = render("mine", found, ["bench sweep"], sample)
    assert list(ticks(text).values()) == [True] * 8 + [False] * len(OPEN)
    assert "12 runs of 2 methods in 1 setting, made" in text
    assert "\nbench sweep\n" in text
    assert "| `r000` | a | digits dirichlet(0.05) | 0 | identical |\n" in text


def test_each_gap_unticks_its_item_and_is_listed(write, runs):
    write(method="a", seed=0, environment=CLEAN, convergence={"seen_change": 0.05}, deviations=["no warm-up"])
    write(method="a", seed=1, environment={**CLEAN, "git_commit": "abc123+"}, convergence={"seen_change": 0.05})
    write(method="b", seed=0, environment={**CLEAN, "torch": "2.1"}, convergence={"seen_change": 0.0})
    write(method="b", seed=2, error="it | broke", config={"plugins": ["/home/me/own.py"]})
    write(method="a", seed=2, environment=CLEAN, config={"plugins": ["/home/me/own.py"]})
    found = facts(Runs(runs))
    assert found.failed == [("b", "digits dirichlet(0.05)", 2, "it | broke")]
    assert found.missing == ["b in digits dirichlet(0.05): seeds 1, 2"]
    assert found.climbing == {"digits dirichlet(0.05)": ["a"]}
    assert (found.unstated, found.plugins, found.clean_commit, found.mixed) == (True, ["own.py"], "", ["torch"])
    assert found.deviations == {"a": ["no warm-up"]}
    sample = [
        Repeated("r000", "a", "s", 0, False, "3 numbers differ"),
        Repeated("r001", "a", "s", 1, True, "identical"),
    ]
    assert [item.holds for item in checklist(found, sample)] == [False] * 8
    text = render("mine", found, [], sample)
    assert "| b | digits dirichlet(0.05) | 2 | it \\| broke |" in text
    assert "- missing: b in digits dirichlet(0.05): seeds 1, 2" in text
    assert "/home/me" not in text
    assert "repeated with equal numbers (1 of 2)" in text


def test_two_finished_runs_of_one_method_setting_and_seed_are_a_repetition(write, runs):
    write(seed=0, config={"device": "cpu"})
    write(seed=1)
    found = facts(Runs(runs))
    assert found.repeated == []
    frame = Runs(runs)
    frame.frame = frame.frame.assign(seed=0)
    assert facts(frame).repeated == ["fedvpt in digits dirichlet(0.05), seed 0: 2 runs"]


def test_no_sample_leaves_the_item_open(write, runs):
    write()
    assert checklist(facts(Runs(runs)), [])[-1].holds is False
    assert "No run was repeated" in render("mine", facts(Runs(runs)), [], [])


def test_only_failed_runs_are_refused(write, runs):
    write(error="it broke")
    with pytest.raises(RecordError, match="contains no finished run"):
        facts(Runs(runs))


def test_texts_of_records_cannot_change_the_page():
    assert line("<b>[x](y) `z` | \n# head") == "&lt;b&gt;\\[x\\](y) \\`z\\` \\| \\\\n# head"
