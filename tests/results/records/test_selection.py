import pytest

from fedprompt.results.errors import RecordError
from fedprompt.results.records import frames
from fedprompt.results.records.selection import Selection, accuracies, metrics


@pytest.fixture
def grid(write, runs):
    """fedvpt with 5 and 10 tokens and head at two alphas; fedvpt also on another data set, without an alpha."""
    for alpha in (0.05, 0.5):
        for tokens in (5, 10):
            options = {"settings": {"fedvpt": {"tokens": tokens}}}
            write("fedvpt", alpha, config=options, family="global prompts")
        write("head", alpha, family="head")
    write("fedvpt", None, dataset="npz:/far/away/own.npz", family="global prompts")
    return runs


def chosen(directory, **words):
    """(method, data set, alpha) of the chosen runs, methods as the whole directory names them."""
    ids = Selection(**words).run_ids(directory)
    rows = frames.load(directory).set_index("run_id").loc[ids]
    return sorted({(row.method, row.dataset[:6], str(row.alpha)) for row in rows.itertuples()})


def test_without_words_nothing_is_read_and_all_runs_are_meant(tmp_path):
    assert Selection(metrics=("seen.mean",)).run_ids(tmp_path / "absent") is None


def test_a_method_is_chosen_by_its_label_its_name_a_wildcard_or_its_family(grid):
    five = ("fedvpt tokens=5", "digits", "0.05")
    ten = ("fedvpt tokens=10", "digits", "0.05")
    low = {"alpha": ("0.05",)}
    assert chosen(grid, methods=("fedvpt tokens=5",), **low) == [five]
    assert chosen(grid, methods=("fedvpt",), **low) == [ten, five]
    assert chosen(grid, methods=("*=5",), **low) == [five]
    assert chosen(grid, methods=("global prompts",), **low) == [ten, five]
    assert chosen(grid, methods=("head", "*=5"), **low) == [five, ("head", "digits", "0.05")]


def test_a_data_set_is_chosen_by_its_name_its_short_name_or_a_wildcard(grid):
    for word in ("npz:/far/away/own.npz", "npz:own", "npz:*"):
        assert {row[1] for row in chosen(grid, datasets=(word,))} == {"npz:/f"}


def test_an_alpha_is_compared_as_a_number_and_runs_without_one_are_not_chosen(grid):
    assert {row[2] for row in chosen(grid, alpha=("5e-1",))} == {"0.5"}
    assert {row[2] for row in chosen(grid, alpha=("0.*",))} == {"0.05", "0.5"}
    assert {row[2] for row in chosen(grid, alpha=("*",), methods=("head",))} == {"0.05", "0.5"}


def test_a_word_that_matches_nothing_is_refused_with_near_names(grid):
    for words, text in (
        ({"methods": ("head", "FedVPT")}, "unknown method 'FedVPT': did you mean 'fedvpt'? available: "),
        ({"datasets": ("digit",)}, "unknown data set 'digit': did you mean 'digits'?"),
        ({"alpha": ("0.1",)}, "unknown alpha '0.1': "),
    ):
        with pytest.raises(RecordError) as raised:
            Selection(**words).run_ids(grid)
        assert str(raised.value).startswith(text)
        assert "\n" not in str(raised.value)
        assert ", ," not in str(raised.value)


def test_a_selection_that_no_run_satisfies_is_refused(grid):
    with pytest.raises(RecordError) as raised:
        Selection(("head",), ("npz:own",)).run_ids(grid)
    assert f"no run of {grid} has all of --methods head --datasets npz:own" in str(raised.value)


def test_unreadable_records_are_reported_and_left_out(grid):
    (grid / "r000" / "result.json").write_text("{")
    errors = []
    ids = Selection(methods=("fedvpt",), alpha=("0.05",)).run_ids(grid, errors.append)
    assert ids == ["r001"]
    assert len(errors) == 1


def test_metrics_are_chosen_in_the_order_of_the_words_and_once():
    known = ["seen.mean", "seen.worst", "held_out.mean", "upload_mb"]
    assert Selection(metrics=("upload_mb", "*.mean", "seen.*")).metrics_of(known) == [
        "upload_mb", "seen.mean", "held_out.mean", "seen.worst",
    ]  # fmt: skip
    assert Selection(metrics=("held_out",)).metrics_of(known) == ["held_out.mean"]
    assert Selection().metrics_of(known) == []
    with pytest.raises(RecordError, match=r"unknown metric 'seen.wrost': did you mean 'seen.worst'"):
        Selection(metrics=("seen.wrost",)).metrics_of(known)


def test_metrics_are_the_numbers_that_runs_have(grid):
    found = metrics(frames.load(grid))
    assert {"seen.mean", "prior.seen.mean", "upload_mb", "seconds"} <= set(found)
    assert not {"seed", "alpha", "method", "personalised.mean"} & set(found)
    assert "personalised.mean" in metrics(frames.load(grid), valued=False)


def test_figures_show_accuracies_of_which_more_is_better(grid):
    found = set(accuracies(frames.load(grid)))
    assert {"seen.mean", "held_out.worst"} <= found
    assert not {"seen.std", "upload_mb", "seen.clients"} & found
