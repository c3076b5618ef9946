"""What an optimiser plug-in may change: the client's step, what is kept and sent beside it, and the server's step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from fedprompt.methods.base import Configured, State, Uploads

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ClientContext:
    """A round's local training as a plug-in sees it: the shared tensors that the clients received, what its server side
    sent beside them, and what each client kept for it when it last trained; [K, ...] each."""

    received: State
    sent: State
    kept: State

    def first(self, number: int) -> ClientContext:
        """The first so many clients of it."""
        parts = (self.received, self.sent, self.kept)
        return ClientContext(*({name: value[:number] for name, value in part.items()} for part in parts))


class Optimiser(Configured):
    """A plug-in written `METHOD+NAME`: it changes the client's step or the server's, for any averaging method.

    It acts on shared tensors alone. What it sends, has clients keep, and has them upload is named and shaped as the
    shared tensors that it goes with, so that rows of classes are sent and counted as theirs are.
    """

    within_round: ClassVar[bool] = False
    """Whether nothing of it outlasts a round, so that the shared tensors may be made anew after each."""

    def memory(self, shared: State) -> State:
        """Initial tensors that the server keeps for this plug-in; they do not travel, but for those that are `sent`."""
        return {}

    def sent(self, memory: State) -> State:
        """What the server sends to every client of a round beside the shared tensors."""
        return {}

    def local(self, shared: State) -> State:
        """Initial tensors that each client keeps for this plug-in, from the first round that it trains in."""
        return {}

    def penalty(self, state: State, received: State) -> Tensor | None:
        """A term [K] added to each client's loss; both states hold the tensors in training, [K, ...] each."""
        return None

    def adjust_gradients(self, gradients: State, state: State, visit: ClientContext) -> State:
        """The gradients [A, ...] that clients follow, given those of their loss and where they stand (`state`)."""
        return gradients

    def finish(self, ended: State, reach: State, visit: ClientContext) -> tuple[State, State]:
        """What clients keep and what they upload beside their shared tensors, [K, ...], after they `ended` training.

        `reach` [K, 1, ...] of every tensor that trained is how far a constant gradient of one would have moved it:
        steps times learning rate, without momentum.
        """
        return visit.kept, {}

    def gather(self, memory: State, before: State, uploads: Uploads, clients: int) -> State:
        """The new memory, given the shared tensors before the round, and what each of its clients sent.

        `uploads.reports` are this plug-in's, with zeros for classes that a client does not hold; `clients` is how many
        train in all.
        """
        return memory

    def server_step(self, before: State, averaged: State, memory: State) -> tuple[State, State]:
        """The shared tensors to continue from, given those before and after averaging, and the new memory."""
        return averaged, memory
