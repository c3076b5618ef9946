"""The numbers of docs/protocol.md that depend on nothing but the partition are measured again."""

from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from fedprompt.benchmark.simulation.random_streams import RandomStreams
from fedprompt.data import loading
from fedprompt.data.federation import build
from fedprompt.data.partitions.settings import PartitionSettings

PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("alpha", [0.05, 0.5, 5])
@pytest.mark.parametrize(("clients", "samples"), [(10, None), (20, None), (20, 30)])
def test_the_realised_federations_are_those_of_the_table(alpha, clients, samples):
    digits = loading.load("digits")
    settings = PartitionSettings("dirichlet", alpha, clients, samples_per_client=samples)
    streams = [RandomStreams(digits.identity, settings.label, seed) for seed in range(10)]
    found = np.array([astuple(build(digits, settings, stream.numpy).label_skew) for stream in streams])
    concentration, drift, test_drift, majority, classes, untrained = found.mean(axis=0)
    spread = found[:, 0].std(ddof=1)
    row = (
        f"| {alpha} | {clients} | {samples or 'all'} | {concentration:.2f} ± {spread:.2f} | {drift:.2f} "
        f"| {test_drift:.2f} | {majority:.0%} | {classes:.1f} | {untrained:.1%} |"
    )
    assert row in PROTOCOL
