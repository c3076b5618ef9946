import json

import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records.frames import load
from fedprompt.results.tables.entries import blocks
from fedprompt.results.tables.leaderboard import leaderboard, render


def write_own_settings(runs, **content):
    (runs / "own_settings.json").write_text(json.dumps(content))


def test_the_table_states_which_methods_were_tuned_and_with_how_many_trials(write, runs):
    tuned = [write(method, config={"lr": lr}).name for method, lr in (("a", 0.1), ("b", 0.3), ("c", 0.05))]
    write("d", config={"lr": 0.05})
    write_own_settings(
        runs, **{name: {"options": ["lr"], "trials": count} for name, count in zip(tuned, (4, 4, 1), strict=True)}
    )
    text = render(leaderboard(load(runs)), "text")
    assert "Tuned on validation samples: a, b (4 trials each); c (1 trial)\n" in text
    assert "Not tuned: d\n" in text


def test_without_tuned_methods_the_table_does_not_mention_tuning(write, runs):
    write("a")
    write_own_settings(runs)
    assert "uned" not in render(leaderboard(load(runs)), "text")


def test_methods_with_their_own_learning_rates_share_a_setting(write, runs):
    first = write("a", config={"lr": 0.1}).name
    write("b", config={"lr": 0.3})
    assert load(runs)["setting"].nunique() == 2
    write_own_settings(runs, **{first: {"options": ["lr"], "trials": 4}})
    assert list(load(runs)["method"]) == ["a", "b"]
    assert load(runs)["setting"].nunique() == 1


def test_the_tuned_and_the_untuned_value_of_a_method_have_two_rows(write, runs):
    tuned = write("a", config={"lr": 0.1}).name
    write("a", config={"lr": 0.3})
    write("b", config={"lr": 0.3})
    write_own_settings(runs, **{tuned: {"options": ["lr"], "trials": 4}})
    frame = load(runs)
    assert list(frame["method"]) == ["a lr=0.1", "a lr=0.3", "b"]
    assert frame["trials"].tolist()[:1] == [4]
    assert frame["trials"].isna().tolist() == [False, True, True]
    assert "Not tuned: a lr=0.3, b" in render(leaderboard(frame), "md").replace("  \n", "\n")


def test_unreadable_own_settings_are_refused_with_the_file_name(write, runs):
    write("a")
    (runs / "own_settings.json").write_text("{")
    with pytest.raises(RecordError, match=r"own_settings.json is not valid JSON"):
        load(runs)


@pytest.mark.parametrize("value", [3, [1], {"options": 3}, {"options": [1]}, {"trials": "four"}, {"trials": -1}])
def test_invalid_own_settings_are_refused_with_the_file_name(value, write, runs):
    write("a")
    for content in ({"a": value}, [value]):
        (runs / "own_settings.json").write_text(json.dumps(content))
        with pytest.raises(RecordError, match=r"own_settings.json contains something other than options and trials"):
            load(runs)


def test_scores_that_do_not_apply_are_shown_as_such(write, runs):
    write("a", metrics={"seen": {"mean": 0.5}, "held_out_adapted": {"mean": 0.625}})
    write("b", metrics={"seen": {"mean": 0.4}, "held_out_adapted": None})
    text = render(leaderboard(load(runs), ["seen.mean", "held_out_adapted.mean", "held_out_unlabelled.mean"]), "text")
    rows = {line.split()[0]: line.split()[1:4] for line in text.splitlines() if line[:1] in ("a", "b")}
    assert rows == {"a": ["50.0", "62.5", "n/a"], "b": ["40.0", "n/a", "n/a"]}


def test_a_table_is_rendered_without_a_copy_of_its_notes_for_every_column(write, runs):
    for method in ("a", "b"):
        write(method)

    class Counted(dict):
        copies = 0

        def __deepcopy__(self, memo):
            Counted.copies += 1
            return self

    table = leaderboard(load(runs))
    table.attrs["federation"] = Counted(table.attrs["federation"])
    Counted.copies = 0
    parts = blocks(table)
    columns = sum(len(block.columns) for block in parts)
    assert columns > 3
    assert Counted.copies <= 2
