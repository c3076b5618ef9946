"""Local optimisers on stacked tensors [K, ...]: for each client, the arithmetic of `torch.optim`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor

from fedprompt.benchmark.simulation.tasks import LocalTraining
from fedprompt.methods.base import Method, Phase, State
from fedprompt.methods.errors import MethodError


class LocalOptimiser(ABC):
    """Base class. A phase creates a new optimiser, so that momentum and moments of all clients start at zero.

    Args:
        state: Tensors of K clients, [K, ...]; those that train become leaves that require gradients.
        names: The tensors that train.
        method: Names the tensors without weight decay and those with a learning rate of their own.
        phase: The phase of local training.
        training: Learning rate, weight decay and the fields of the optimiser.
    """

    def __init__(self, state: State, names: list[str], method: Method, phase: Phase, training: LocalTraining) -> None:
        self.names, self.training = names, training
        lr, rates = training.lr if phase.lr is None else phase.lr, method.learning_rates
        most = float("inf") if phase.max_lr is None else phase.max_lr
        self.rates = [training.lr_factor * min(rates.get(name, lr), most) for name in names]
        for name, value in state.items():
            state[name] = value.detach().clone().requires_grad_() if name in names else value.detach()
        self.values = [state[name] for name in names]
        self.decays = [0.0 if name in method.no_decay else training.weight_decay for name in names]
        self._start()

    def gradients(self, losses: Tensor, active: int) -> State:
        """Gradients [active, ...] by name, those of each client from its own loss [active]."""
        gradients = torch.autograd.grad(losses.sum(), self.values, allow_unused=True)
        if unused := [name for name, gradient in zip(self.names, gradients, strict=True) if gradient is None]:
            raise MethodError(f"the loss does not depend on {', '.join(unused)}, which a phase trains.")
        return {name: gradient[:active] for name, gradient in zip(self.names, gradients, strict=True)}

    @torch.no_grad()
    def step(self, gradients: State, active: int, adjust: Callable[[State], State] | None = None) -> None:
        """One step of the first `active` clients from their gradients [active, ...]; the others do not change.

        `adjust` changes the step before it is multiplied by the learning rate.
        """
        if self.training.clip_norm is not None:
            gradients = _clipped(gradients, self.training.clip_norm)
        values = {name: value[:active] for name, value in zip(self.names, self.values, strict=True)}
        steps = {}
        for place, (name, value) in enumerate(values.items()):
            steps[name] = self._step(place, self._decayed(place, gradients[name], value))
        if adjust is not None:
            steps = adjust(steps)
        for rate, (name, value) in zip(self.rates, values.items(), strict=True):
            value.sub_(steps[name], alpha=rate)

    def _decayed(self, place: int, gradient: Tensor, value: Tensor) -> Tensor:
        """The gradient of the tensor at `place` with weight decay: an L2 penalty."""
        return gradient.add(value, alpha=self.decays[place]) if self.decays[place] else gradient

    @abstractmethod
    def _start(self) -> None:
        """Creates the state of the optimiser."""

    @abstractmethod
    def _step(self, place: int, gradient: Tensor) -> Tensor:
        """The step [active, ...] of the tensor at `place`; updates the state of the active clients."""

    def _zeros(self) -> list[Tensor]:
        return [torch.zeros_like(value) for value in self.values]


class Sgd(LocalOptimiser):
    """`torch.optim.SGD`."""

    def _start(self) -> None:
        self.velocities = self._zeros()

    def _step(self, place: int, gradient: Tensor) -> Tensor:
        return self.velocities[place][: len(gradient)].mul_(self.training.momentum).add_(gradient)


class Adam(LocalOptimiser):
    """`torch.optim.Adam`. A row whose gradient is zero still moves while its first moment is not zero, as there."""

    def _start(self) -> None:
        self.first, self.second = self._zeros(), self._zeros()
        self.counts = [0] * len(self.values)  # equal for all active clients: they start a phase together

    def _step(self, place: int, gradient: Tensor) -> Tensor:
        beta1, beta2, active = self.training.beta1, self.training.beta2, len(gradient)
        self.counts[place] += 1
        first = self.first[place][:active].lerp_(gradient, 1 - beta1)
        second = self.second[place][:active].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (second.sqrt() / sqrt(1 - beta2 ** self.counts[place])).add_(self.training.eps)
        return (first / (1 - beta1 ** self.counts[place])).div_(scale)


class AdamW(Adam):
    """`torch.optim.AdamW`: weight decay shrinks the values and is not part of the gradient."""

    def _decayed(self, place: int, gradient: Tensor, value: Tensor) -> Tensor:
        value.mul_(1 - self.rates[place] * self.decays[place])
        return gradient


LOCAL_OPTIMISERS: dict[str, type[LocalOptimiser]] = {"sgd": Sgd, "adam": Adam, "adamw": AdamW}


def _clipped(gradients: State, limit: float) -> State:
    """Gradients [A, ...], scaled per client so that their norm over all tensors is at most `limit`."""
    norms = torch.stack([value.square().reshape(len(value), -1).sum(1) for value in gradients.values()]).sum(0).sqrt()
    factors = limit / norms.clamp_min(limit)
    return {name: value * factors.view(-1, *[1] * (value.dim() - 1)) for name, value in gradients.items()}
