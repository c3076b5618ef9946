"""pfedpt: a personal border of pixels."""

import pytest
import torch

from fedprompt.methods import MethodError
from tests import toy

HEAD = {"head.weight", "head.bias"}


@pytest.mark.parametrize(("width", "pixels"), [(1, 60), (3, 156), (8, 256)])
def test_the_border_changes_exactly_the_border_pixels(width, pixels):
    """Of 16 x 16 pixels; 16^2 - (16 - 2 width)^2 of them are border."""
    simulator = toy.simulator("pfedpt", settings={"pfedpt": {"width": width}})
    assert simulator.state.initial_local["border"].shape == (3, pixels)
    value = torch.arange(1.0, 2 * 3 * pixels + 1).view(2, 3, pixels)
    image = simulator.context.method.padding(simulator.context.vit, value)
    assert image.shape == (2, 3, 16, 16)
    for row in range(16):
        for column in range(16):
            at_edge = min(row, column, 15 - row, 15 - column) < width
            assert bool((image[:, :, row, column] != 0).all()) == at_edge
            assert bool((image[:, :, row, column] == 0).all()) != at_edge
    assert torch.equal(image[image != 0], value.flatten())  # each of its numbers once, in reading order


def test_a_border_is_added_to_the_pixels_that_the_backbone_sees():
    simulator = toy.simulator("pfedpt:head", of=toy.unequal())
    batch, state = toy.batch_of(simulator.context.method, simulator.make_tasks([0], 1))
    torch.manual_seed(0)
    state["border"] = torch.randn(1, 3, 60)
    pixels = simulator.context.train.pixels(batch.rows) + simulator.context.method.padding(
        simulator.context.vit, state["border"]
    )
    feature = simulator.context.vit.model(pixels)  # timm's own forward
    expected = feature @ state["head.weight"][0].T + state["head.bias"][0]
    torch.testing.assert_close(
        simulator.context.method.logits(simulator.context.vit, batch, state), expected, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(("name", "model"), [("pfedpt", HEAD | {"prompt"}), ("pfedpt:head", HEAD)])
def test_the_border_trains_first_and_then_the_model(name, model):
    simulator = toy.simulator(name, of=toy.unequal())
    (job,) = simulator.make_tasks([0], 1)
    for phase, own in zip(simulator.context.method.phases(), ({"border"}, model), strict=True):
        (update,) = toy.train(simulator, [job], toy.TRAINING, (phase,))
        before, after = {**job.state.shared, **job.state.local}, {**update.shared, **update.local}
        assert {key for key in before if not torch.equal(before[key], after[key])} == own


def test_with_a_zero_border_it_equals_fedvpt():
    one, other = toy.simulator("pfedpt", of=toy.unequal()), toy.simulator("fedvpt", of=toy.unequal())
    logits = [
        s.context.method.logits(s.context.vit, *toy.batch_of(s.context.method, s.make_tasks([0], 1)))
        for s in (one, other)
    ]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)


def test_a_border_wider_than_half_the_image_is_refused():
    with pytest.raises(MethodError, match=r"pfedpt.width=9: images are 16 pixels wide; use at most half of that"):
        toy.simulator("pfedpt", settings={"pfedpt": {"width": 9}})


def test_borders_are_personal():
    simulator = toy.ran("pfedpt", of=toy.unequal())
    borders = [simulator.state.local[k]["border"] for k in range(3)]
    assert not torch.equal(borders[0], borders[1])
    assert "border" not in simulator.state.server.tensors
    (subject,) = simulator.evaluator.tasks(simulator.state, simulator.context.federation.held_out)
    torch.testing.assert_close(subject.state.tensors["border"], sum(borders) / 3)
