"""apfl: logits of a personal and the averaged model, mixed with a learned share per client.

By hand: heads without weights give every image the logits of their biases, here of two classes, as the other two are
ruled out. The averaged model's are (0, 0) and the client's own (ln 3, 0), and all its samples are of the second class.
"""

from dataclasses import replace
from math import log, sqrt

import pytest
import torch

from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.methods.components.personal_model import GLOBAL, PERSONAL
from tests import toy

ONE_STEP = LocalTraining(epochs=1, batch_size=60, lr=0.1, momentum=0.0, weight_decay=0.5)
MIXED = sqrt(3) / (sqrt(3) + 1)  # softmax of (ln 3 / 2, 0): how far half of each model trusts the wrong class
OUT = -1e4


def by_hand(**settings):
    simulator = toy.simulator("apfl", of=toy.unequal(), settings={"apfl": settings})
    (job,) = simulator.make_tasks([0], 1)
    shared = {**job.state.shared, "head.weight": torch.zeros(4, 24), "head.bias": torch.tensor([0.0, 0.0, OUT, OUT])}
    local = {**job.state.local, "personal.head.weight": torch.zeros(4, 24)}
    local["personal.head.bias"] = torch.tensor([log(3), 0.0, OUT, OUT])
    return simulator, replace(job, rows=toy.rows_of(1)[:5], state=replace(job.state, shared=shared, local=local))


def trained(simulator, job, phase, training=ONE_STEP):
    phases = simulator.context.method.phases()[phase : phase + 1]
    (update,) = toy.train(simulator, [job], training, phases)
    return update


@pytest.mark.parametrize(("rate", "expected"), [(0.1, 0.5 - 0.1 * (MIXED * log(3) + 0.02 * 0.5)), (5.0, 0.0)])
def test_alpha_follows_its_gradient_and_stays_between_zero_and_one(rate, expected):
    """dL/da = <softmax - label, own - averaged> = MIXED ln 3, and 0.02 alpha beside it; 5.0 would take it below 0."""
    update = trained(*by_hand(alpha_lr=rate), 0)
    assert update.local["alpha"].item() == pytest.approx(expected, abs=1e-6)
    assert update.images == 5
    assert not any(torch.equal(update.local["alpha"], torch.tensor(share)) for share in (0.5, 1.0))


def test_alpha_trains_on_the_first_batch_only():
    simulator, job = by_hand(alpha_lr=0.1)
    assert trained(simulator, job, 0, replace(ONE_STEP, batch_size=2)).images == 2


def test_both_models_are_updated_simultaneously_the_personal_one_on_the_mixture():
    """The own bias moves by lr alpha (softmax - label) of the mixture, the averaged one by lr (softmax - label)."""
    simulator, job = by_hand()
    update = trained(simulator, job, 1, replace(ONE_STEP, weight_decay=0.0))
    own, of_all = update.local["personal.head.bias"], update.shared["head.bias"]
    assert own[:2].tolist() == pytest.approx([log(3) - 0.1 * 0.5 * MIXED, 0.1 * 0.5 * MIXED], abs=1e-6)
    assert of_all[:2].tolist() == pytest.approx([-0.1 * 0.5, 0.1 * 0.5], abs=1e-6)
    assert update.local["alpha"] == 0.5


def test_the_mixture_is_computed_on_logits():
    simulator, job = by_hand(alpha=0.25)
    local = {**job.state.local, "alpha": torch.tensor(0.25)}
    logits = simulator.context.method.logits(
        simulator.context.vit,
        *toy.batch_of(simulator.context.method, [replace(job, state=replace(job.state, local=local))]),
    )
    torch.testing.assert_close(logits[:, :2], torch.tensor([[0.25 * log(3), 0.0]]).expand(5, 2))


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_with_alpha_fixed_at_zero_it_equals_fedvpt_exactly(clip_norm):
    training = replace(toy.TRAINING, clip_norm=clip_norm)
    arguments = {"of": toy.unequal(), "participation": 2 / 3, "rounds": 3, "training": training}
    apfl = toy.simulator("apfl", settings={"apfl": {"alpha": 0.0, "alpha_lr": 0.0}}, **arguments)
    fedvpt = toy.simulator("fedvpt", **arguments)
    one, other = apfl.run(), fedvpt.run()
    assert all(torch.equal(apfl.state.server[key], fedvpt.state.server[key]) for key in GLOBAL)
    assert one.metrics == other.metrics
    assert (one.upload_bytes, one.download_bytes) == (other.upload_bytes, other.download_bytes)


def test_the_averaged_model_does_not_depend_on_alpha():
    """Nor on the personal models, which the loss of the averaged one does not see."""
    runs = [toy.simulator("apfl", of=toy.unequal(), settings={"apfl": {"alpha": share}}) for share in (0.1, 0.9)]
    for run in runs:
        run.run()
    assert all(torch.equal(runs[0].state.server[key], runs[1].state.server[key]) for key in GLOBAL)
    assert not any(torch.equal(runs[0].state.local[0][key], runs[1].state.local[0][key]) for key in PERSONAL)


def test_with_alpha_one_a_client_trains_like_local():
    """alpha = 1: averaged + 1 (own - averaged) rounds, hence the tolerance."""
    settings = {"apfl": {"alpha": 1.0, "alpha_lr": 0.0}}
    apfl, local = toy.simulator("apfl", of=toy.unequal(), settings=settings), toy.simulator("local", of=toy.unequal())
    apfl.run()
    local.run()
    for name, own in zip(GLOBAL, PERSONAL, strict=True):
        torch.testing.assert_close(apfl.state.local[1][own], local.state.local[1][name], atol=1e-4, rtol=1e-4)


def test_each_client_has_its_own_alpha_and_a_held_out_client_the_initial_one():
    simulator = toy.ran("apfl", of=toy.unequal())
    shares = {simulator.state.local[client]["alpha"].item() for client in range(3)}
    assert len(shares) == 3
    assert all(0 <= share <= 1 for share in shares)
    (subject,) = simulator.evaluator.tasks(simulator.state, simulator.context.federation.held_out)
    assert subject.state.tensors["alpha"] == 0.5
