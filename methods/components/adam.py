"""A step of Adam (Kingma and Ba, 2015, Algorithm 1) as a function, with the defaults of torch."""

from __future__ import annotations

from fedprompt.methods.lazy import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def adam_step(gradient: Tensor, m: Tensor, v: Tensor, steps: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The direction to subtract, without the learning rate, and the new moments m and v.

    Args:
        gradient: The gradient of a tensor.
        m: Its first moment, zero before the first step.
        v: Its second moment, zero before the first step.
        steps: Number of steps, this one included.
    """
    m = BETA1 * m + (1 - BETA1) * gradient
    v = BETA2 * v + (1 - BETA2) * gradient.square()
    return m / (1 - BETA1**steps) / ((v / (1 - BETA2**steps)).sqrt() + EPSILON), m, v
