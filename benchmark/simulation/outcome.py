"""What a simulation measures."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Outcome:
    """Measurements of a run.

    Attributes:
        rounds: One row per round.
        clients: One row per client, after the last round.
        metrics: Summaries of the accuracy by group of clients; None where they do not apply.
        metrics_prior: The same with prior-corrected logits.
        by_class: Means of logged rows by true class.
        upload_bytes: Bytes sent from clients to the server.
        download_bytes: Bytes sent from the server to clients.
        parameters: Number of `shared` and `local` parameters.
        trainable: Shapes of the `shared` and `local` tensors by name.
        travelling: Shapes of what travels, `upload` and `download`; class rows are counted in bytes as they are sent,
            and shown here with the rows of all classes.
        train_seconds: Seconds of local training and aggregation.
        eval_seconds: Seconds of evaluation.
        images: Images trained on.
        backbone_passes: Passes through the whole backbone, in images.
        never_trained: Share of the seen clients that no round sampled.
    """

    rounds: list[dict[str, Any]] = field(default_factory=list)
    clients: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[str, float] | None] = field(default_factory=dict)
    metrics_prior: dict[str, dict[str, float] | None] = field(default_factory=dict)
    by_class: dict[str, list[list[float | None]]] = field(default_factory=dict)
    upload_bytes: int = 0
    download_bytes: int = 0
    parameters: dict[str, int] = field(default_factory=dict)
    trainable: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    travelling: dict[str, dict[str, list[int]]] = field(default_factory=lambda: {"upload": {}, "download": {}})
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    images: int = 0
    backbone_passes: float = 0.0
    never_trained: float = 0.0

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside the `with` block to the field `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)
