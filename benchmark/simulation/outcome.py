"""What a simulation measures."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fedprompt.benchmark.backbone.vit import FrozenViT

Summary = dict[str, float | None]
"""Statistics of the accuracy over clients."""
Metrics = dict[str, Summary | None]
"""Summaries by group of clients; None where a group has no score."""


@dataclass
class Outcome:
    """Measurements of a run.

    Attributes:
        rounds: One row per round.
        clients: One row per client, after the last round.
        metrics: Summaries of the accuracy by group of clients; None where they do not apply.
        metrics_prior: The same with prior-corrected logits, after the last round.
        metrics_prior_uncalibrated: The same with logits corrected at temperature 1.
        by_class: Means of logged rows by true class.
        upload_bytes: Bytes sent from clients to the server.
        download_bytes: Bytes sent from the server to clients.
        parameters: Number of `shared` and `local` parameters.
        trainable: Shapes of the `shared` and `local` tensors by name.
        travelling: Shapes of what travels, `upload` and `download`; class rows are counted in bytes as they are sent,
            and shown here with the rows of all classes.
        train_seconds: Seconds of local training and aggregation.
        eval_seconds: Seconds of evaluation.
        images: Images trained on, by purpose: `train` (rounds), `fine_tuning` (a method's own, before it is scored) and
            `personal` (for the personalised score).
        layers: Layers of the backbone that the method needed, in images x layers, by purpose: those of `images`,
            `evaluate` and `calibrate`. Neither caches nor the executor change them.
        never_trained: Share of the seen clients that no round sampled.
        unscored: Clients that never trained and have no score, because the method has no rule for them, by group.
        temperature: Of the prior correction.
        calibration_bytes: Bytes sent for choosing it; no method needs them, so they are no part of the traffic.
        unestimated: Held-out clients whose class shares could not be estimated, so that the shares of the training
            data were used, by estimator.
        preparation: Summary of `preparation.prepare`; empty without it.
    """

    rounds: list[dict[str, Any]] = field(default_factory=list)
    clients: list[dict[str, Any]] = field(default_factory=list)
    metrics: Metrics = field(default_factory=dict)
    metrics_prior: Metrics = field(default_factory=dict)
    metrics_prior_uncalibrated: Metrics = field(default_factory=dict)
    by_class: dict[str, list[list[float | None]]] = field(default_factory=dict)
    upload_bytes: int = 0
    download_bytes: int = 0
    parameters: dict[str, int] = field(default_factory=dict)
    trainable: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    travelling: dict[str, dict[str, list[int]]] = field(default_factory=lambda: {"upload": {}, "download": {}})
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    images: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("train", "fine_tuning", "personal"), 0))
    layers: dict[str, float] = field(default_factory=dict)
    never_trained: float = 0.0
    unscored: dict[str, int] = field(default_factory=dict)
    temperature: float | None = None
    calibration_bytes: int = 0
    unestimated: dict[str, int] = field(default_factory=dict)
    preparation: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Adds the seconds spent inside the `with` block to the field `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, name, getattr(self, name) + time.perf_counter() - start)

    @contextmanager
    def counted(self, vit: FrozenViT, purpose: str) -> Iterator[None]:
        """Adds the layers needed inside the `with` block to `layers`."""
        before = vit.layers_needed
        yield
        self.layers[purpose] = self.layers.get(purpose, 0.0) + vit.layers_needed - before
