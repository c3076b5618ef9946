"""How much a run still changed at its end, from the rows of its rounds."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np


def convergence(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Changes over the last quarter of the rounds, as far as the run was evaluated often enough.

    No evaluation is added: accuracies are compared with the evaluation nearest to the start of the last quarter, the
    earlier of two, and never with one of the first half.

    Args:
        rounds: One row per round from 0, with `round`, `train_loss` and, where it was evaluated, `seen_mean`.

    Returns:
        `since_round`: The evaluation that the last one is compared with.
        `seen_change`: Seen accuracy after the last round minus that after `since_round`.
        `between_evaluations`: Mean absolute difference of seen accuracy between successive evaluations.
        `loss_change`: Mean training loss of the last quarter of the rounds minus that of the quarter before.
    """
    found: dict[str, float] = {}
    last, losses = len(rounds) - 1, [row["train_loss"] for row in rounds[1:]]
    quarter = max(1, last // 4)
    seen = {row["round"]: row["seen_mean"] for row in rounds[1:] if np.isfinite(row.get("seen_mean", np.nan))}
    earlier = [number for number in seen if last / 2 <= number < last]
    if last in seen and earlier:
        since = min(earlier, key=lambda number: (abs(number - (last - quarter)), number))
        found |= {"since_round": since, "seen_change": seen[last] - seen[since]}
        found["between_evaluations"] = float(np.mean([abs(b - a) for a, b in pairwise(seen.values())]))
    if last >= 2 * quarter:
        found["loss_change"] = float(np.mean(losses[-quarter:]) - np.mean(losses[-2 * quarter : -quarter]))
    return found
