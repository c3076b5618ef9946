"""What a backbone's weights are, told without loading torch."""

import hashlib
from pathlib import Path

from fedprompt.benchmark.errors import ConfigError

EMBEDDED = "bench_vit_patch8_32"
EMBEDDED_WEIGHTS = Path(__file__).parent / "pretrained" / f"{EMBEDDED}.tiny_imagenet.safetensors"
RANDOM = "random"
"""The checkpoint that asks for random weights in so many words; they are never used silently."""


def identity(name: str, checkpoint: str | None) -> str:
    """A file's sha256, the name by which timm downloads, or `random`. Raises `ConfigError` for a missing file."""
    if checkpoint == RANDOM:
        return RANDOM
    if checkpoint is not None or name == EMBEDDED:
        path = Path(checkpoint) if checkpoint else EMBEDDED_WEIGHTS
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(f"--checkpoint {path} cannot be read: {(error.strerror or '').lower()}.") from error
    return f"timm:{name}"
