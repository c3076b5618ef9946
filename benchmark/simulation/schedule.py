"""The rounds after which all clients are scored, and the learning rate of a round."""

from collections.abc import Callable, Sequence
from math import cos, pi

LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + cos(pi * done)) / 2,
}
"""The factor of the learning rates after a share `done` of the rounds."""


def lr_factor(schedule: str, number: int, rounds: int) -> float:
    """The factor of all learning rates in round `number`, counted from 1, of `rounds`.

    With `cosine` (Loshchilov and Hutter, ICLR 2017, eq. 5, without restarts) it falls from 1 in the first round towards
    0 after the last.
    """
    return LR_SCHEDULES[schedule]((number - 1) / rounds)


def evaluated_rounds(rounds: int, every: int | None, at: Sequence[int] | None = None) -> tuple[int, ...]:
    """The rounds after which all clients are scored, ascending; 0 is before the first, and the last one always counts.

    Args:
        rounds: Number of rounds.
        every: Rounds between evaluations, the first before training. None: only after three quarters of the rounds and
            after the last, which suffices to say whether a method has converged. Methods that train before each score
            spend half of their time on evaluations otherwise.
        at: The rounds themselves, in place of `every`.
    """
    if not rounds:
        return (0,)
    if at:
        return tuple(sorted({*at, rounds}))
    if every is None:
        return tuple(sorted({max(1, rounds - max(1, rounds // 4)), rounds}))
    return (*range(0, rounds, every), rounds) if every < rounds else (rounds,)
