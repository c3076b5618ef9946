import numpy as np
import torch

from fedprompt.benchmark.simulation.random_streams import RandomStreams


def test_a_purpose_always_gives_the_same_draws():
    streams, again = (RandomStreams("digits", "dirichlet(0.5)", 0) for _ in range(2))
    first = streams.numpy("batches", 3, 7)
    assert np.array_equal(first.random(5), streams.numpy("batches", 3, 7).random(5))
    assert torch.equal(torch.rand(3, generator=streams.torch("head")), torch.rand(3, generator=again.torch("head")))


def test_every_part_of_the_key_changes_the_draws():
    keys = [("digits", "iid", 0), ("digits", "iid", 1), ("digits", "dirichlet(1)", 0), ("cifar", "iid", 0)]
    purposes = [("cohort", 1), ("cohort", 2), ("batches", 1), ("batches", 1, 0), ("batches", 10)]
    entropies = {RandomStreams(*key).entropy(*purpose) for key in keys for purpose in purposes}
    assert len(entropies) == len(keys) * len(purposes)


def test_adjacent_parts_and_types_of_the_key_are_distinguished():
    streams = RandomStreams("digits", "iid", 0)
    assert streams.entropy("batches", 1, 12) != streams.entropy("batches", 11, 2)
    assert streams.entropy("cohort", 1) != streams.entropy("cohort", "1")


def test_draws_are_the_same_on_every_machine():
    # The first 16 bytes of sha256('["cohort", 1, "digits", "iid", 0]'), computed with coreutils.
    assert f"{RandomStreams('digits', 'iid', 0).entropy('cohort', 1):032x}" == "d376f660bf2236f77cd6dc00857278db"
