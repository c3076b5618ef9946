"""moon: the contrastive loss, and which prompts are the received and the previous ones."""

import torch
from torch.nn import functional

from fedprompt.methods.moon import MOON
from tests import toy


def test_the_loss_contrasts_the_received_with_the_previous_features():
    simulator = toy.simulator("moon", of=toy.unequal(), settings={"moon": {"mu": 2.0, "temperature": 0.5}})
    method, vit = simulator.context.method, simulator.context.vit
    assert isinstance(method, MOON)
    batch, state = toy.batch_of(method, simulator.make_tasks([0], 1))
    near, far = state["prompt"] + 0.1, state["prompt"] - 0.3
    batch.received = {**state, "prompt": near, "previous.prompt": far}
    z, positive, negative = (method.feature(vit, batch, {"prompt": p}) for p in (state["prompt"], near, far))
    pairs = torch.stack([functional.cosine_similarity(z, other) / 0.5 for other in (positive, negative)], 1)
    contrast = functional.cross_entropy(pairs, torch.zeros(len(z)).long(), reduction="none")
    logits = method.logits(vit, batch, state)
    expected = functional.cross_entropy(logits, batch.labels, reduction="none") + 2 * contrast
    torch.testing.assert_close(method.loss(vit, batch, state), expected, atol=1e-5, rtol=1e-5)


def test_a_client_keeps_the_prompts_after_its_training_and_compares_with_them_in_its_next_round(monkeypatch):
    simulator = toy.simulator("moon", of=toy.unequal(), rounds=1)
    initial = simulator.state.server["prompt"].clone()
    assert torch.equal(simulator.state.initial_local["previous.prompt"], initial)
    updates = toy.learned(simulator, [0, 1, 2], 1)
    simulator.run()
    for update in updates:
        assert torch.equal(simulator.state.local[update.client]["previous.prompt"], update.shared["prompt"])
        assert not torch.equal(update.shared["prompt"], initial)
    seen = []
    monkeypatch.setattr(MOON, "feature", recording(seen))
    toy.learned(simulator, [0], 2)
    _, positive, negative = seen[-3:]  # of the last step
    assert torch.equal(positive[0], simulator.state.server["prompt"])
    assert torch.equal(negative[0], updates[0].shared["prompt"])


def recording(seen):
    """`feature`, appending the prompts that it is given to `seen`."""
    feature = MOON.feature

    def record(self, vit, batch, state):
        seen.append(state["prompt"].detach().clone())
        return feature(self, vit, batch, state)

    return record


def test_without_its_loss_fedvpt_is_left():
    plain = toy.ran("fedvpt", of=toy.unequal())
    free = toy.ran("moon", of=toy.unequal(), settings={"moon": {"mu": 0.0}})
    for name in ("prompt", "head.weight", "head.bias"):
        assert torch.equal(free.state.server[name], plain.state.server[name])


def test_previous_prompts_never_travel():
    simulator = toy.simulator("moon", of=toy.unequal())
    plain = toy.simulator("fedvpt", of=toy.unequal())
    assert simulator.run().upload_bytes == plain.run().upload_bytes
