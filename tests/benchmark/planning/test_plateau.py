from types import SimpleNamespace

import pytest

from fedprompt.benchmark.config.options import options
from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.planning.plateau import pilot, plateau, propose


def rows(**seen):
    """Round 0, and the rounds `rN` with their accuracies in percent."""
    accuracies = {int(name[1:]): value / 100 for name, value in seen.items()}
    rounds = [{"round": number} for number in range(max(accuracies) + 1)]
    return [row | ({"seen_mean": accuracies[row["round"]]} if row["round"] in accuracies else {}) for row in rounds]


@pytest.mark.parametrize(
    ("seen", "enough"),
    [
        ({"r0": 10, "r4": 50, "r8": 76, "r12": 79, "r16": 80}, 8),
        ({"r4": 79, "r8": 70, "r12": 79, "r16": 80}, 12),  # it must stay there
        ({"r4": 90, "r8": 82, "r16": 80}, 8),  # too high is no plateau either
        ({"r0": 80, "r4": 80, "r8": 80}, 4),  # never before training
        ({"r4": 10, "r8": 80}, 8),
    ],
)
def test_rounds_are_enough_where_later_ones_change_little(seen, enough):
    assert plateau(rows(**seen)) == enough


def recorded(gains):
    """A record for each run of a pilot, in order: its gain in the last quarter, and a plateau from round 8 or 12."""
    records = iter(
        SimpleNamespace(result={"convergence": {"seen_change": gain}}, rounds=rows(r4=50, r8=low, r12=79, r16=80))
        for gain, low in zip(gains, (76, 60), strict=True)
    )
    return lambda config: next(records)


def runs():
    return pilot(options({"alpha": (0.5,)}), 32)


def test_the_slowest_run_decides():
    shown = []
    enough, facts = propose(runs(), recorded([0.01, 0.0]), shown.append)
    assert enough == 12
    assert [fact["enough"] for fact in facts] == [8, 12]
    assert shown == facts


def test_a_pilot_that_still_climbs_proposes_nothing():
    assert propose(runs(), recorded([0.0, 0.03]), lambda fact: None)[0] is None


def test_a_pilot_is_two_methods_at_every_alpha_with_one_seed():
    found = pilot(options({"alpha": (0.05, 0.5), "seeds": (3, 4), "lr": 0.1}), 64)
    assert [(run.method, run.alpha) for run in found] == [
        (method, alpha) for alpha in (0.05, 0.5) for method in ("head", "fedvpt")
    ]
    assert {(run.seed, run.rounds, run.eval_every, run.personal_epochs, run.lr) for run in found} == {
        (3, 64, 4, 0, 0.1)
    }


def test_a_pilot_of_other_than_two_methods_is_refused():
    assert [run.method for run in pilot(options({"methods": ("fedper", "local")}), 8)] == ["fedper", "local"]
    with pytest.raises(ConfigError, match="two methods, not 3: name two with --methods"):
        pilot(options({"methods": ("fedper", "local", "head")}), 8)
