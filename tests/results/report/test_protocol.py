from fedprompt.results.report.protocol import protocol


def record(dataset="digits", seed=0, torch="2.9", **config):
    config = {"rounds": 24, "lr": 0.05, "backbone": "vit", "partition": "dirichlet", **config}
    return {"dataset": dataset, "seed": seed, "config": config, "environment": {"torch": torch, "git_commit": ""}}


def test_options_are_named_once_where_runs_agree_and_listed_where_they_differ():
    lines = dict(protocol([record(), record(lr=0.1, torch="2.10"), record("npz:/a/b.npz", seed=4)]))
    assert lines["rounds"] == "24"
    assert lines["learning rate"] == "0.05, 0.1"
    assert lines["data"] == "digits, npz:b"
    assert lines["seeds"] == "0, 4"
    assert lines["torch"] == "2.9, 2.10"
    assert lines["optimizer"] == "sgd"  # older records do not name it
    assert "commit of this package" not in lines
    assert "precision" not in lines


def test_successive_seeds_are_a_range_and_many_values_are_counted():
    lines = dict(protocol([record(seed=seed, lr=0.1 * (seed + 1)) for seed in range(11)]))
    assert lines["seeds"] == "0 to 10"
    assert lines["learning rate"].startswith("0.1, 0.2, 0.3, ")
    assert lines["learning rate"].endswith(" and 3 more")
