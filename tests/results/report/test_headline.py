from fedprompt.results.records.frames import load
from fedprompt.results.report.headline import headline


def test_a_lead_of_ten_points_in_ten_pairs_is_significant(write, runs):
    for seed in range(10):
        write("a", seed=seed, seen=0.7, metrics_prior=None)
        write("b", seed=seed, seen=0.6, metrics_prior=None)
    first, *_ = headline(load(runs))
    assert first.startswith(
        "a has the highest mean accuracy of seen clients on digits dirichlet(0.05): 70.0 % (10 seeds)."
    )
    assert "leads b by 10.0 points" in first
    assert (
        "which is statistically significant (p = 0.002 by max-T over 2 comparisons of all methods)" in first
    )  # 2 / 2^10


def test_a_lead_over_two_seeds_is_untestable_and_the_reason_is_given(write, runs):
    for seed in range(2):
        write("a", seed=seed, seen=0.7)
        write("b", seed=seed, seen=0.6)
    first, *_ = headline(load(runs))
    assert first.endswith("untestable with 2 seeds: p is at least 0.5; 6 seeds are needed.")


def test_a_lead_that_changes_sign_is_not_significant(write, runs):
    for seed, change in enumerate((0.1, -0.1, 0.05, -0.05, 0.02, -0.02)):
        write("a", seed=seed, seen=0.7 + change)
        write("b", seed=seed, seen=0.69)
        write("c", seed=seed, seen=0.3)
    first, *_ = headline(load(runs))
    assert "which is not statistically significant: p = " in first
    assert first.endswith("It differs significantly from 1 of 2 methods.")


def corrected(mean):
    return {"seen": {"mean": mean, "worst": 0.1, "bottom_decile": 0.1, "std": 0.1, "pooled": mean, "clients": 4}}


def test_a_lead_that_prior_correction_removes_is_reported_as_lost(write, runs):
    write("a", seen=0.7, metrics_prior=corrected(0.71))
    write("b", seen=0.6, metrics_prior=corrected(0.9))
    _, second = headline(load(runs))
    assert "the lead is lost: b is first, at 90.0 %, and a is 2nd, at 71.0 %" in second
    assert "leads a by 19.0 points" in second


def test_a_lead_that_survives_prior_correction_is_reported(write, runs):
    write("a", seen=0.7, metrics_prior=corrected(0.8))
    write("b", seen=0.6, metrics_prior=corrected(0.75))
    _, second = headline(load(runs))
    assert "a still leads, at 80.0 %. It leads b by 5.0 points" in second


def test_the_rank_of_pep_fedpt_is_the_last_sentence(write, runs):
    for i, name in enumerate(("a", "b", "pep-fedpt")):
        write(name, seen=0.7 - 0.1 * i)
    assert headline(load(runs))[-1] == "pep-fedpt is 3rd of 3, 20.0 points below the best."


def test_a_method_without_a_run_in_some_setting_cannot_be_the_best(write, runs):
    write("a", 0.05, seen=0.9)
    for alpha in (0.05, 0.5):
        write("b", alpha, seen=0.5)
    assert headline(load(runs))[0].startswith("b has the highest")
    assert "over 2 settings" in headline(load(runs))[0]


def test_without_a_method_in_every_setting_there_is_no_winner(write, runs):
    write("a", 0.05)
    write("b", 0.5)
    assert headline(load(runs)) == ["No method has finished a run in every setting: there is no overall winner."]
