import math

import pytest

from fedprompt.results.claims.literature import beside_published, published
from fedprompt.results.records.frames import load


def test_every_published_number_is_a_share_and_states_why_it_cannot_be_compared():
    frame = published()
    assert frame["published"].between(0, 1).all()
    assert frame["comparable"].str.startswith("no: ").all()
    assert not frame.duplicated(["source", "method", "dataset", "partition", "alpha"]).any()


def test_published_numbers_match_their_papers():
    frame = published().set_index(["method", "dataset", "partition"])
    # Yang et al., Table 2: pFedPG, CIFAR-100, disjoint.
    assert frame.loc[("pfedpg", "cifar100", "pathological"), "published"].item() == pytest.approx(0.7096)
    # Goswami et al., Table 3: FedCOF, iNaturalist-Users-120K.
    assert frame.loc[("fedcof", "inaturalist-user-120k", "natural"), "published"].item() == pytest.approx(0.631)


def test_measured_means_have_the_same_data_set_and_partition_as_the_published_numbers(write, runs):
    for seed, seen in enumerate((0.4, 0.6)):
        write("fedvpt", 0.1, seed, seen, dataset="cifar100")
    write("fedvpt", 0.5, 0, 0.9, dataset="cifar100")
    frame = beside_published(load(runs))
    assert set(frame["method"]) == {"fedvpt"}
    row = frame[(frame["dataset"] == "cifar100") & (frame["alpha"] == 0.1) & (frame["metric"] == "seen.mean")].iloc[0]
    assert (row["published"], row["measured"], row["seeds"]) == (pytest.approx(0.4526), pytest.approx(0.5), 2)
    other = frame[frame["dataset"] == "cifar10"].iloc[0]
    assert math.isnan(other["measured"])
    assert other["seeds"] == 0


def test_methods_without_a_published_number_have_no_row(write, runs):
    write("mine", dataset="cifar100", alpha=0.1)
    assert beside_published(load(runs)).empty
