import numpy as np
import pandas as pd
import pytest

from fedprompt.results.claims.verification import Check, Claim, Settings, assess, read, verify
from fedprompt.results.errors import RecordError
from fedprompt.results.records.frames import load
from fedprompt.results.statistics import inference as stats


def claim(settings=None, **check):
    """The claim that `good` beats every method on digits; the arguments replace parts of it."""
    whole = {"kind": "beats_all", "method": "good", "metrics": ("seen.mean",)} | check
    settings = Settings(**(settings or {"datasets": ["digits"]}))
    return Claim(id="c", source="s", wording="w", settings=settings, check=Check(**whole))


@pytest.fixture
def finding(runs):
    """Verifies a claim on the runs written so far."""
    return lambda settings=None, **check: verify(load(runs), [claim(settings, **check)], np.random.default_rng(0))[0]


@pytest.fixture
def sweep(write):
    """Writes six seeds of every named method around its mean, all with the same noise."""

    def run(means, **record):
        for seed in range(record.pop("seeds", 6)):
            for method, mean in means.items():
                write(method, seed=seed, seen=mean + 0.01 * seed, **record)

    return run


def test_a_significant_lead_over_every_method_in_every_setting_supports_the_claim(sweep, finding):
    sweep({"good": 0.6, "fair": 0.5, "bad": 0.4})
    sweep({"good": 0.6, "fair": 0.5, "bad": 0.4}, alpha=0.5)
    found = finding()
    assert found.verdict == "supported"
    assert "ahead in 4 of 4 comparisons with 2 methods in 2 settings, 4 of them significant" in found.reason
    assert len(found.comparisons) == 6  # two methods in two settings, and in their mean
    assert found.elsewhere is None
    assert set(found.comparisons["p"]) == {2 / 2**6}  # of six seeds, also in the mean over settings


def test_one_significantly_better_method_contradicts_the_claim(sweep, finding):
    for alpha in (0.05, 0.5):
        sweep({"good": 0.6, "bad": 0.4, "better": 0.7}, alpha=alpha)
    found = finding()
    assert found.verdict == "contradicted"
    assert "furthest behind better in " in found.reason
    assert ": -10.0 points of seen.mean, p = 0.031 by max-T over 6" in found.reason


def test_few_seeds_reach_no_significance_and_the_finding_states_how_many_would(sweep, finding):
    sweep({"good": 0.9, "bad": 0.1}, seeds=3)
    found = finding()
    assert found.verdict == "not significant"
    assert found.reason.endswith("untestable with 3 seeds: p is at least 0.25; 6 seeds are needed")


def test_a_lead_in_one_setting_and_a_tie_in_another_is_not_significant(sweep, write, finding):
    sweep({"good": 0.6, "bad": 0.4})
    for seed in range(6):
        write("good", 0.5, seed, 0.5)
        write("bad", 0.5, seed, 0.5 + 0.1 * (-1) ** seed)
    assert finding().verdict == "not significant"


def test_seen_and_held_out_clients_must_both_support_the_claim(sweep, finding):
    sweep({"good": 0.6, "bad": 0.4}, held_out=0.4)  # held-out clients are tied
    assert finding(metrics=("seen.mean",)).verdict == "supported"
    assert finding(metrics=("seen.mean", "held_out.mean")).verdict == "not significant"


def test_a_claim_on_other_data_is_not_tested_and_other_settings_are_reported_separately(sweep, finding):
    sweep({"good": 0.6, "bad": 0.4})
    found = finding({"datasets": ["cifar100"]})
    assert (found.verdict, found.comparisons.empty) == ("not tested", True)
    assert found.reason == "no finished pair of good and a baseline on cifar100"
    assert found.elsewhere.verdict == "supported"


def test_half_of_a_claims_data_sets_cannot_support_it_but_can_contradict_it(sweep, finding):
    sweep({"good": 0.6, "bad": 0.4})
    half = {"datasets": ["digits", "cifar100"]}
    found = finding(half)
    assert found.verdict == "not tested"
    assert found.reason.endswith("not measured: cifar100")
    assert finding(half, method="bad").verdict == "contradicted"


def test_a_claim_with_a_baseline_that_was_not_run_is_not_tested(sweep, finding):
    sweep({"good": 0.6, "bad": 0.4})
    found = finding(kind="beats", baselines=("bad", "absent"))
    assert found.verdict == "not tested"
    assert found.reason.endswith("not measured: absent")


def test_within_allows_the_margin(sweep, finding):
    sweep({"good": 0.6, "better": 0.605})
    assert finding(kind="within", baselines=("better",), margin=0.01).verdict == "supported"
    assert finding(kind="within", baselines=("better",), margin=0.001).verdict == "contradicted"
    row = finding(kind="within", baselines=("better",), margin=0.01).comparisons.iloc[0]
    assert (row["value"], row["lead"]) == (pytest.approx(-0.005), pytest.approx(0.005))


def test_variants_of_the_method_are_not_compared_with_but_methods_with_a_similar_name_are():
    others = claim().check.against(["good", "good:prior", "good+fedprox", "good tau=1", "good-deep", "bad"])
    assert others == ["good-deep", "bad"]


def test_failed_runs_and_other_backbones_do_not_count(sweep, write, finding):
    sweep({"good": 0.6, "bad": 0.4}, config={"backbone": "toy"})
    assert finding({"datasets": ["digits"], "backbones": ["vit_*"]}).verdict == "not tested"
    assert finding({"datasets": ["digits"], "backbones": ["toy"]}).verdict == "supported"
    write("good", alpha=0.5, error="stopped")
    assert finding().verdict == "supported"


def test_less_is_better_for_costs(sweep, write, finding):
    for seed in range(6):
        write("good", seed=seed, seconds={"total": 1.0 + seed})
        write("bad", seed=seed, seconds={"total": 9.0 + seed})
    found = finding(metrics=("seconds",))
    assert found.verdict == "supported"
    assert found.comparisons["value"].tolist() == pytest.approx([-8])


def test_without_an_effect_at_most_5_percent_of_claims_are_supported_or_contradicted(monkeypatch):
    monkeypatch.setattr(stats, "DRAWS", 10)  # the intervals are not used
    generator = np.random.default_rng(3)
    frame = pd.DataFrame([(s, m) for s in range(8) for m in ("good", "bad")], columns=["seed", "method"])
    frame = frame.assign(status="done", setting="c", dataset="digits", partition="p", backbone="b")
    verdicts = [
        assess(claim(), frame.assign(**{"seen.mean": values}), generator).verdict
        for values in generator.normal(size=(400, 16))
    ]
    assert 0 < np.mean([verdict != "not significant" for verdict in verdicts]) <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5


def test_our_own_claims_can_be_read_and_have_unique_ids(write, runs):
    write()
    claims = read()
    assert len({found.id for found in claims}) == len(claims)
    assert {found.verdict for found in verify(load(runs), claims, np.random.default_rng(0))} == {"not tested"}
    assert {"pep-fedpt-surpasses-all", "training-free-head-equals-prompts"} <= {found.id for found in claims}


GOOD = (
    "{id: c, source: s, wording: w, settings: {datasets: [digits]}, check: {kind: beats_all, method: m, metrics: [x]}}"
)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("a: [", "cannot be read"),
        ("a: 1", "is not a list of claims"),
        ("- {id: c}", r"0\.source"),
        ("- " + GOOD.replace("beats_all", "wins"), r"0\.check\.kind"),
        ("- " + GOOD.replace("datasets", "dataset"), r"0\.settings\.dataset"),
        ("- " + GOOD.replace("beats_all", "beats"), "beats and within must"),
        ("- " + GOOD.replace("metrics", "margin: 0.1, metrics"), "within must have a margin"),
        ("- !!python/object/apply:os.getcwd []", "cannot be read"),
    ],
)
def test_an_invalid_claims_file_is_refused_with_the_faulty_place(tmp_path, content, named):
    (tmp_path / "claims.yaml").write_text(content)
    with pytest.raises(RecordError, match=named):
        read(tmp_path / "claims.yaml")


def test_an_older_file_that_says_cells_and_rivals_is_read(tmp_path):
    new, old = tmp_path / "new.yaml", tmp_path / "old.yaml"
    new.write_text("- " + GOOD.replace("beats_all", "beats, baselines: [a]"))
    old.write_text("- " + GOOD.replace("beats_all", "beats, rivals: [a]").replace("settings:", "cells:"))
    assert read(old) == read(new)


def test_a_claim_on_an_unknown_metric_is_refused(write, finding):
    write()
    with pytest.raises(RecordError, match=r"unknown metric of c 'seen.men': did you mean 'seen.mean'\?"):
        finding(metrics=("seen.men",))
