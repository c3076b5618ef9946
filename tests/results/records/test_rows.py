import math

from fedprompt.results.records.frames import load


def test_scores_that_are_not_listed_get_columns_of_their_own(write, runs):
    personalised = {"mean": 0.5, "worst": 0.25, "unscored": 2}
    write(
        metrics={"seen": {"mean": 0.75}, "personalised": personalised},
        metrics_prior_uncalibrated={"seen": {"mean": 0.9}},
    )
    (row,) = load(runs).to_dict("records")
    assert (row["personalised.mean"], row["personalised.unscored"]) == (0.5, 2)
    assert (row["seen.mean"], row["prior_uncalibrated.seen.mean"]) == (0.75, 0.9)
    assert math.isnan(row["prior.held_out.mean"])


def test_other_numbers_of_a_record_are_columns_and_texts_options_and_shapes_are_not(write, runs):
    write(
        temperature=1.5,
        passes={"training": 30, "personal": 4.5},
        federation={"hash": "abc", "drift": 0.25, "unused": [3]},
        seconds={"train": 3.0, "total": 4.0},
        trainable={"shared": {"prompt": [4, 192]}},
    )
    (row,) = load(runs).to_dict("records")
    assert (row["temperature"], row["passes_training"], row["passes_personal"]) == (1.5, 30, 4.5)
    assert (row["federation_drift"], row["seconds_train"], row["seconds"]) == (0.25, 3.0, 4.0)
    absent = {"seconds_total", "passes_unit", "federation_hash", "federation_unused", "config_rounds", "format"}
    assert not absent & set(row)
    assert not any(name.startswith(("trainable", "config", "communication_")) for name in row)


def test_a_number_of_some_runs_only_is_missing_in_the_others(write, runs):
    write(seed=0, temperature=2.0)
    write(seed=1, temperature=None)
    write(seed=2)
    assert load(runs)["temperature"].fillna(-1).tolist() == [2, -1, -1]


def test_the_kinds_of_uploads_are_a_text(write, runs):
    write(seed=0, uploads={"parameters": ["prompt"], "class counts": ["count"]})
    write(seed=1, uploads={})
    assert load(runs)["uploads"].tolist() == ["parameters, class counts", "nothing"]


def test_kinds_of_uploads_of_older_records_follow_from_names_and_shapes(write, runs):
    shapes = {"prompt": [4, 8], "sum": [10, 8], "standardize.sum": [8], "drawn": [20]}
    write(seed=0, travelling={"upload": shapes, "download": {}}, trainable={"shared": {"prompt": [4, 8]}})
    write(seed=1, error="out of memory")
    found = "parameters, class ids, class sums, feature sums, undeclared"
    assert load(runs)["uploads"].tolist() == [found, ""]
