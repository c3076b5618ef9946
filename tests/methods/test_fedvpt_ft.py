"""fedvpt-ft: fedvpt with fine-tuning at every client before predictions."""

import numpy as np
import torch

from fedprompt.benchmark.simulation.tasks import LocalTraining
from tests import toy


def test_fine_tuning_does_not_change_the_server():
    tuned, plain = toy.simulator("fedvpt-ft", of=toy.unequal()), toy.simulator("fedvpt", of=toy.unequal())
    one, other = tuned.run(), plain.run()
    assert all(torch.equal(tuned.state.server[key], value) for key, value in plain.state.server.items())
    assert tuned.state.server.keys() == plain.state.server.keys()
    assert not tuned.state.local
    assert (one.upload_bytes, one.download_bytes) == (other.upload_bytes, other.download_bytes)
    assert [row["train_loss"] for row in one.rounds[1:]] == [row["train_loss"] for row in other.rounds[1:]]
    assert one.metrics["held_out"] == other.metrics["held_out"]


def test_a_client_predicts_after_fine_tuning_on_its_own_data():
    """The same epochs by hand, as an update of fedvpt from the server's last state."""
    settings = {"fedvpt-ft": {"tune_epochs": 3}}
    tuned = toy.simulator("fedvpt-ft", of=toy.unequal(), settings=settings)
    plain = toy.simulator("fedvpt", of=toy.unequal())
    tuned.run()
    plain.run()
    (subject,), images = tuned.evaluator.tuned(
        tuned.evaluator.tasks(tuned.state, np.array([1])), tuned.evaluator.fine_tuning()
    )
    assert images == 3 * 10
    (job,) = plain.make_tasks([1], 9)
    job.rng.bit_generator.state = plain.context.streams.numpy("adaptation", 1).bit_generator.state
    training = LocalTraining(epochs=3, batch_size=4, lr=0.05, momentum=0.9, weight_decay=0.01)
    (update,) = toy.train(plain, [job], training)
    assert all(torch.equal(subject.state.tensors[key], value) for key, value in update.shared.items())
    assert len(update.shared) == 3
