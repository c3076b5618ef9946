"""The contract between plug-ins and the simulator: optimisers, which change steps, and losses, which change logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedprompt.methods.base import Batch, Configured, State, Uploads
from fedprompt.methods.lazy import Tensor


@dataclass(frozen=True)
class ClientContext:
    """What an optimiser knows of K clients during their local training; all tensors [K, ...]."""

    received: State
    """Shared tensors at the start of the round."""
    sent: State
    """Tensors that `Optimiser.sent` returned for this round."""
    kept: State
    """Tensors that each client stored for this optimiser when it last trained; at first those of `Optimiser.local`."""

    def first(self, number: int) -> ClientContext:
        """The context of the first `number` clients."""
        parts = (self.received, self.sent, self.kept)
        return ClientContext(*({name: value[:number] for name, value in part.items()} for part in parts))


class Optimiser(Configured):
    """Base class of optimisers, written `METHOD+NAME`. They change the client's or the server's step.

    An optimiser acts on shared tensors only and works with any method that averages them. What it sends, keeps and
    uploads must have the names and shapes of shared tensors; per-class rows then travel and are counted as theirs.
    """

    within_round: ClassVar[bool] = False
    """Whether it keeps no state between rounds, so that it also fits methods that rebuild their shared tensors."""

    needs_sgd: ClassVar[str] = ""
    """Why clients must train with SGD; empty if any local optimizer will do."""

    @property
    def predicts_with(self) -> str:
        """The shared tensors that `evaluated` returns, in words; part of every record. Empty: what the server sends."""
        return ""

    def memory(self, shared: State) -> State:
        """Initial tensors that the server stores for this optimiser."""
        return {}

    def sent(self, memory: State) -> State:
        """Tensors that the server sends to every client of a round, in addition to the shared tensors."""
        return {}

    def local(self, shared: State) -> State:
        """Initial tensors that each client stores for this optimiser."""
        return {}

    def penalty(self, state: State, received: State) -> Tensor | None:
        """A term [K] added to each client's loss; both states contain the tensors in training, [K, ...]."""
        return None

    def adjust_gradients(self, gradients: State, state: State, visit: ClientContext) -> State:
        """The gradients [K, ...] for the local optimizer, from those of the loss at `state`."""
        return gradients

    def finish(self, ended: State, reach: State, visit: ClientContext) -> tuple[State, State]:
        """Tensors that clients store and tensors that they upload, [K, ...], after training.

        Args:
            ended: Shared tensors after local training, [K, ...].
            reach: For every trained tensor [K, 1, ...] the distance that a constant gradient of one would have moved
                it: steps times learning rate without momentum, more with momentum. Empty if the local optimizer is
                not SGD.
            visit: The clients' context.
        """
        return visit.kept, {}

    def gather(self, memory: State, before: State, uploads: Uploads, clients: int) -> State:
        """The server's new memory after a round.

        Args:
            memory: Tensors stored by the server.
            before: Shared tensors before the round.
            uploads: The cohort's uploads. `uploads.reports` are what `finish` uploaded, zero for other classes' rows.
            clients: Total number of training clients.
        """
        return memory

    def evaluated(self, shared: State, memory: State) -> State:
        """Shared tensors that clients predict with, seen or held out, from those of the server and the memory.

        They are also what clients start from when they train before a score. Default: those that the server sends.
        Several optimisers act in the reverse order of their server steps.
        """
        return shared

    def server_step(self, before: State, averaged: State, memory: State) -> tuple[State, State]:
        """The new shared tensors and the new memory, from the shared tensors before the round and after averaging."""
        return averaged, memory


class LossPlugin(Optimiser):
    """Base class of plug-ins that change only the training loss, written `METHOD+NAME` like optimisers.

    They act wherever a method trains with `batch.cross_entropy`: in rounds, in its own fine-tuning and before the
    personalised score. They need no shared tensors.
    """

    within_round = True

    def adjust_logits(self, batch: Batch, logits: Tensor) -> Tensor:
        """The logits [B, C] of the training loss; predictions do not change."""
        raise NotImplementedError(f"{type(self).__name__} does not implement adjust_logits")
