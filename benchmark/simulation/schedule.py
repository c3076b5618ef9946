"""The rounds after which all clients are scored."""

from collections.abc import Sequence


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
