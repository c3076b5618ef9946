from fedprompt.results.records.labels import label, short_names


def record(method="m", dataset="digits", alpha=0.05, seed=0, partition="dirichlet", **config):
    return {
        "method": method, "dataset": dataset, "partition": partition, "alpha": alpha, "seed": seed,
        "config": {"method": method, "dataset": dataset, "alpha": alpha, "seed": seed} | config,
    }  # fmt: skip


def settings(*records):
    return [name.setting for name in label(records)]


def test_equal_options_are_not_shown():
    assert settings(record(rounds=20), record(rounds=20, seed=1)) == ["digits dirichlet(0.05)"] * 2


def test_an_option_that_differs_is_shown_in_every_setting():
    found = settings(record(rounds=20, lr=0.1), record(rounds=40, lr=0.1), record(rounds=20, lr=0.1, alpha=0.5))
    assert found == [
        "digits dirichlet(0.05) rounds=20",
        "digits dirichlet(0.05) rounds=40",
        "digits dirichlet(0.5) rounds=20",
    ]


def test_an_option_that_depends_on_the_data_set_only_is_not_shown():
    found = settings(record(image_size=8), record(dataset="npz:/data/cifar.v1.npz", image_size=32))
    assert found == ["digits dirichlet(0.05)", "npz:cifar.v1 dirichlet(0.05)"]


def test_nested_options_are_shown_by_their_last_key():
    found = settings(record(federation={"clients": 10}), record(federation={"clients": 20}))
    assert found == ["digits dirichlet(0.05) clients=10", "digits dirichlet(0.05) clients=20"]


def test_a_partition_without_alpha_is_shown_by_name_and_shares_its_group():
    first, second = label([record(), record(partition="iid", alpha=None)])
    assert (second.setting, second.skew) == ("digits iid", "iid")
    assert first.group == second.group == "digits"


def test_an_option_of_some_runs_only_is_shown_for_those():
    found = settings(record(), record(partition="pathological", alpha=None, classes_per_client=2))
    assert found == ["digits dirichlet(0.05)", "digits pathological classes_per_client=2"]


def test_options_of_different_methods_do_not_split_a_setting():
    names = label([record("a", settings={"tau": 0.1}), record("b", settings={"mu": 1.0})])
    assert [(name.method, name.setting) for name in names] == [
        ("a", "digits dirichlet(0.05)"),
        ("b", "digits dirichlet(0.05)"),
    ]


def test_one_method_with_several_values_of_its_options_is_several_methods():
    names = label([record("a", settings={"tau": 0.1}), record("a", settings={"tau": 1.0}), record("b")])
    assert [name.method for name in names] == ["a tau=0.1", "a tau=1", "b"]


def test_method_options_that_depend_on_the_setting_only_are_not_shown():
    names = label([record("a", settings={"layer": 4}), record("a", alpha=0.5, settings={"layer": 7})])
    assert [name.method for name in names] == ["a", "a"]


def test_where_a_run_was_computed_is_shown_only_if_runs_differ_in_nothing_else():
    assert settings(record("a", device="cpu"), record("b", device="cuda")) == ["digits dirichlet(0.05)"] * 2
    found = settings(record("a", device="cpu"), record("a", device="cuda"))
    assert found == ["digits dirichlet(0.05) device=cpu", "digits dirichlet(0.05) device=cuda"]


def test_paths_are_cut_to_the_shortest_tail_that_stays_unique():
    names = ["digits", "npz:/a/x/c.npz", "npz:/a/y/c.npz", "npz:/a/y/d.npz"]
    assert short_names(names) == {
        "digits": "digits",
        "npz:/a/x/c.npz": "npz:x/c",
        "npz:/a/y/c.npz": "npz:y/c",
        "npz:/a/y/d.npz": "npz:d",
    }


def test_runs_with_different_optimizers_show_its_name_and_not_the_options_of_only_one_of_them():
    adam = {"optimizer": "adam", "momentum": None, "beta1": 0.9}
    found = settings(record(momentum=0.9), record(optimizer="sgd", momentum=0.9, beta1=None), record(**adam))
    assert found == [
        "digits dirichlet(0.05) optimizer=sgd", "digits dirichlet(0.05) optimizer=sgd",
        "digits dirichlet(0.05) optimizer=adam",
    ]  # fmt: skip


def test_runs_with_the_same_optimizer_show_the_options_in_which_they_differ():
    adam = {"optimizer": "adam", "momentum": None}
    found = settings(record(**adam, beta1=0.9), record(**adam, beta1=0.8))
    assert found == ["digits dirichlet(0.05) beta1=0.9", "digits dirichlet(0.05) beta1=0.8"]


def test_a_record_of_an_earlier_version_has_the_same_setting_as_one_that_names_the_default():
    assert (
        settings(record(lr=0.1), record(lr=0.1, optimizer="sgd", beta1=None, seed=1)) == ["digits dirichlet(0.05)"] * 2
    )
