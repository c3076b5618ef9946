"""Random streams from a hash of (purpose, data set, partition, seed), never of the method, so that runs are paired."""

import hashlib
import json

import numpy as np
import torch


class RandomStreams:
    """Generators by purpose. A purpose always gives a fresh generator with the same draws."""

    def __init__(self, dataset: str, partition: str, seed: int) -> None:
        self._key = (dataset, partition, seed)

    def entropy(self, *purpose: str | int) -> int:
        """A 128-bit integer for a purpose such as ("batches", round, client)."""
        text = json.dumps([*purpose, *self._key])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")

    def numpy(self, *purpose: str | int) -> np.random.Generator:
        """NumPy generator for a purpose."""
        return np.random.default_rng(self.entropy(*purpose))

    def torch(self, purpose: str) -> torch.Generator:
        """CPU torch generator for a purpose; what methods draw their initial tensors from."""
        return torch.Generator().manual_seed(self.entropy(purpose) % 2**63)
