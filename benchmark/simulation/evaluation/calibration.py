"""The temperature of the prior correction, fitted by likelihood on the training clients' own data.

Logits of undertrained, overtrained or closed-form heads have any scale, so adding a log prior to them proves nothing.
At the fitted temperature T, softmax(logits / T + log prior) is the model of these logits and this prior that explains
the training labels best: at T = infinity it is the prior alone. One temperature serves the whole run. Each client sends
one sum per temperature of a fixed grid, and receives the winner.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fedprompt.benchmark.backbone.samples import Samples
from fedprompt.benchmark.backbone.vit import FrozenViT
from fedprompt.benchmark.simulation.batch import Batch
from fedprompt.benchmark.simulation.evaluation.scoring import ScoringTask, log_prior, passes
from fedprompt.methods.registry import Recipe

GRID = 2.0 ** (np.arange(-28, 29) / 4)
"""57 temperatures from 1/128 to 128, in steps of 19 %."""
UNCALIBRATED = len(GRID) // 2  # the place of temperature 1
BYTES_PER_CLIENT = 4 * (len(GRID) + 1)  # one fp32 sum per temperature up, the winner down


def losses(
    recipe: Recipe,
    vit: FrozenViT,
    samples: Samples,
    tasks: Sequence[ScoringTask],
    threads: int = 1,
    smoothing: float = 0.0,
) -> np.ndarray:
    """Negative log-likelihood of the clients' labels at each temperature of `GRID`, summed over samples.

    Args:
        recipe, vit, samples: The method, the backbone and the training data.
        tasks: The training clients with their training rows.
        threads: Passes computed in parallel.
        smoothing: See `score`.
    """
    total = np.zeros(len(GRID))

    def count(batch: Batch, logits: Tensor, _: list[ScoringTask]) -> np.ndarray:
        prior, rows = batch.own(log_prior(batch.counts, smoothing)), torch.arange(len(logits), device=logits.device)
        loss = [-(logits / t + prior).log_softmax(1)[rows, batch.labels] for t in GRID.tolist()]
        summed: np.ndarray = torch.stack(loss).masked_fill(~batch.mask, 0).double().sum(1).cpu().numpy()
        return summed

    for _, summed in passes(recipe, vit, samples, tasks, threads, count):
        total += summed
    return total


def best(total: np.ndarray) -> int:
    """The place of the temperature with the lowest loss; the middle of equal ones, as for logits that are all equal."""
    if not np.isfinite(total).any():
        return UNCALIBRATED
    lowest = np.flatnonzero(total <= np.nanmin(total) * (1 + 1e-9))
    return int(lowest[len(lowest) // 2])
