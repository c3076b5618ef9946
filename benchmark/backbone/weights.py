"""Identity of a backbone's weights, computed without importing torch."""

import hashlib
from pathlib import Path

from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import reason

EMBEDDED = "bench_vit_patch8_32"
EMBEDDED_WEIGHTS = Path(__file__).parent / "pretrained" / f"{EMBEDDED}.tiny_imagenet.safetensors"
RANDOM = "random"
"""The value of `--checkpoint` that requests random weights. Random weights are never a silent fallback."""


def identity(name: str, checkpoint: str | None) -> str:
    """Returns what identifies the weights: the file's SHA-256, `timm:NAME` for a download, or `random`.

    Raises:
        ConfigError: The checkpoint file cannot be read.
    """
    if checkpoint == RANDOM:
        return RANDOM
    if checkpoint is not None or name == EMBEDDED:
        path = Path(checkpoint) if checkpoint else EMBEDDED_WEIGHTS
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"--checkpoint {path} cannot be read: {reason(error)}.") from error
    return f"timm:{name}"
