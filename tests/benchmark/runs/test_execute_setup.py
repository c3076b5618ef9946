from dataclasses import replace

import pytest

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.runs import execute as runner
from tests.benchmark.conftest import config


@pytest.mark.parametrize(("part", "scored"), [("test", 1), ("train", 0)])
def test_clients_are_scored_on_the_part_of_the_data_that_their_test_positions_refer_to(part, scored):
    run = config(methods=("head",))
    dataset = runner.dataset(run)
    vit = runner.frozen_vit(run, len(dataset.classes))
    samples = runner._samples(dataset, vit, run.normalize)
    federation = replace(runner.federation_of(run, dataset), test_part=part)
    simulator = runner.assemble(run, vit, *samples, federation)
    assert simulator.context.train is samples[0]
    assert simulator.context.test is samples[scored]


def test_bf16_is_refused_where_the_device_lacks_it_and_fp32_is_not(monkeypatch):
    monkeypatch.setattr(runner, "has_bf16", lambda device: False)
    runner.ready(config(precision="fp32"))
    with pytest.raises(ConfigError, match="--precision bf16: cpu has no bf16 instructions here; use --precision fp32"):
        runner.ready(config(precision="bf16"))


def test_a_run_whose_precision_is_not_chosen_yet_is_refused():
    with pytest.raises(ConfigError, match="--precision auto: the precision of this run is not chosen yet"):
        runner.simulator(config(precision="auto"))
