import json

import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records.frames import load
from fedprompt.results.tables.leaderboard import leaderboard, render


def marks(runs, **content):
    (runs / "own_settings.json").write_text(json.dumps(content))


def test_the_table_says_which_rows_were_tuned_and_with_how_many_trials(write, runs):
    tuned = [write(method, config={"lr": lr}).name for method, lr in (("a", 0.1), ("b", 0.3), ("c", 0.05))]
    write("d", config={"lr": 0.05})
    marks(runs, **{name: {"options": ["lr"], "trials": count} for name, count in zip(tuned, (4, 4, 1), strict=True)})
    text = render(leaderboard(load(runs)), "text")
    assert "Tuned on validation samples: a, b (4 trials each); c (1 trial)\n" in text
    assert "Not tuned: d\n" in text


def test_where_nothing_was_tuned_the_table_says_nothing_of_it(write, runs):
    write("a")
    marks(runs)
    assert "uned" not in render(leaderboard(load(runs)), "text")


def test_methods_with_learning_rates_of_their_own_share_a_setting(write, runs):
    first = write("a", config={"lr": 0.1}).name
    write("b", config={"lr": 0.3})
    assert load(runs)["setting"].nunique() == 2
    marks(runs, **{first: {"options": ["lr"], "trials": 4}})
    assert list(load(runs)["method"]) == ["a", "b"]
    assert load(runs)["setting"].nunique() == 1


def test_the_tuned_and_the_untuned_value_of_a_method_are_two_rows(write, runs):
    tuned = write("a", config={"lr": 0.1}).name
    write("a", config={"lr": 0.3})
    write("b", config={"lr": 0.3})
    marks(runs, **{tuned: {"options": ["lr"], "trials": 4}})
    frame = load(runs)
    assert list(frame["method"]) == ["a lr=0.1", "a lr=0.3", "b"]
    assert frame["trials"].tolist()[:1] == [4]
    assert frame["trials"].isna().tolist() == [False, True, True]
    assert "Not tuned: a lr=0.3, b" in render(leaderboard(frame), "md").replace("  \n", "\n")


def test_notes_of_a_sweep_that_cannot_be_read_are_named(write, runs):
    write("a")
    (runs / "own_settings.json").write_text("{")
    with pytest.raises(RecordError, match=r"own_settings.json is not valid JSON"):
        load(runs)


@pytest.mark.parametrize("note", [3, [1], {"options": 3}, {"options": [1]}, {"trials": "four"}, {"trials": -1}])
def test_notes_of_a_sweep_that_are_none_are_refused_by_the_file_s_name(note, write, runs):
    write("a")
    for content in ({"a": note}, [note]):
        (runs / "own_settings.json").write_text(json.dumps(content))
        with pytest.raises(RecordError, match=r"own_settings.json holds something else"):
            load(runs)


def test_held_out_scores_that_do_not_apply_are_said_not_to(write, runs):
    write("a", metrics={"seen": {"mean": 0.5}, "held_out_adapted": {"mean": 0.625}})
    write("b", metrics={"seen": {"mean": 0.4}, "held_out_adapted": None})
    text = render(leaderboard(load(runs), ["seen.mean", "held_out_adapted.mean", "held_out_unlabelled.mean"]), "text")
    rows = {line.split()[0]: line.split()[1:4] for line in text.splitlines() if line[:1] in ("a", "b")}
    assert rows == {"a": ["50.0*", "62.5*", "n/a"], "b": ["40.0", "n/a", "n/a"]}
