import pandas as pd
import pytest

from fedprompt.results.errors import MissingDataError, RecordError
from fedprompt.results.records.frames import load
from fedprompt.results.statistics.prior import with_prior
from fedprompt.results.statistics.reference import to_reference
from fedprompt.results.tables.leaderboard import difference_table
from tests.results.conftest import split


@pytest.fixture
def written(write, runs):
    """Methods a, b and c at two alphas with six seeds; c has no prior-corrected gain."""
    for alpha in (0.05, 0.5):
        for seed in range(6):
            for method, seen, gain in (("a", 0.6, 0.1), ("b", 0.5 + 0.01 * seed, 0.2), ("c", 0.65, 0)):
                write(method, alpha, seed, seen, metrics_prior={"seen": split(seen + gain), "held_out": None})
    return load(runs)


def values(frame):
    """The values by method and reference of the first setting."""
    first = frame[frame["setting"] == "digits dirichlet(0.05)"]
    return {(row.method, row.reference): round(row.value, 6) for row in first.itertuples()}


def test_differences_are_the_methods_minus_the_reference_in_each_setting(written):
    found = to_reference(written, ["seen.mean"], "a")
    assert values(found) == {("b", "a"): -0.075, ("c", "a"): 0.05}
    assert set(found["setting"]) == {"digits dirichlet(0.05)", "digits dirichlet(0.5)"}
    assert found["seeds"].tolist() == [6] * 4


def test_with_prior_the_method_alone_and_both_are_corrected(written):
    assert values(to_reference(written, ["seen.mean"], "a", prior=True)) == {
        ("b", "a"): -0.075,
        ("c", "a"): 0.05,
        ("a+prior", "a"): 0.1,
        ("b+prior", "a"): 0.125,
        ("c+prior", "a"): 0.05,
        ("b+prior", "a+prior"): 0.025,
        ("c+prior", "a+prior"): -0.05,
    }


@pytest.mark.parametrize("prior", [False, True])
def test_the_numbers_are_those_of_the_table_of_differences(written, prior):
    table = difference_table(with_prior(written) if prior else written, ["seen.mean"], "a")
    found = to_reference(written, ["seen.mean"], "a", prior)
    for row in found[found["reference"] == "a"].itertuples():
        cell = table[row.setting]["seen.mean"].loc[row.method]
        assert cell[["value", "low", "high", "p_adjusted"]].tolist() == [row.value, row.low, row.high, row.p_adjusted]


def test_an_interval_excludes_0_only_if_it_lies_on_one_side_and_reaches_95_percent(write, runs):
    for seed in range(6):
        for method, seen in (("a", 0.5), ("better", 0.6), ("equal", 0.5 + 0.01 * (-1) ** seed), ("touching", 0.5)):
            write(method, seed=seed, seen=seen)
        if seed < 5:
            write("few", seed=seed, seen=0.6)
    found = to_reference(load(runs), ["seen.mean"], "a").set_index("method")
    assert found["excludes_0"].to_dict() == {"better": True, "equal": False, "few": False, "touching": False}
    assert found.loc["few", "level"] == 0.9375  # 1 - 2^-4


def test_metrics_without_values_are_left_out(written):
    found = to_reference(written.assign(**{"held_out.mean": None}), ["held_out.mean", "seen.mean", "no.metric"], "a")
    assert found["metric"].unique().tolist() == ["seen.mean"]


def test_without_a_pair_or_scores_of_the_prior_the_error_says_so(written):
    with pytest.raises(MissingDataError, match="no other method has a setting and seed in common with a"):
        to_reference(written[written["method"] == "a"], ["seen.mean"], "a")
    apart = written.assign(seed=written["seed"].where(written["method"] == "a", written["seed"] + 100))
    with pytest.raises(MissingDataError, match="no other method has a setting and seed in common with a"):
        to_reference(apart, ["seen.mean"], "a")
    with pytest.raises(MissingDataError, match=r"no run has a value of prior.seen.mean; leave out --prior"):
        to_reference(pd.DataFrame(written).drop(columns="prior.seen.mean"), ["seen.mean"], "a", prior=True)
    with pytest.raises(RecordError, match="unknown method 'x'"):
        to_reference(written, ["seen.mean"], "x")
