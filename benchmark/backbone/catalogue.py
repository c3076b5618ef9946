"""The backbones that a run can use, with family, sizes and the licences of their weights."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path

from fedprompt.benchmark.backbone.weights import EMBEDDED
from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import DataError
from fedprompt.data.files import json_files
from fedprompt.data.files.memory_mapped import default_folder, prepare

logger = logging.getLogger("bench")
RULES = 1
"""Version of what an entry contains and of which models are supported; part of the cache's name."""


@dataclass(frozen=True)
class Entry:
    """A backbone.

    Attributes:
        name: What `--backbone` takes.
        family: What kind of model it is.
        parameters: Number of weights, without a head.
        registers: Register tokens.
        tokens: Tokens per image of `image_size` pixels, without prompts.
        patch_size: Side of a patch in pixels.
        weights: Tags of the weights that timm downloads, as in NAME.TAG, and their licences; "" where none is stated.
        note: What a user should know.
    """

    name: str
    family: str
    parameters: int
    registers: int
    tokens: int
    image_size: int
    patch_size: int
    weights: dict[str, str]
    note: str = ""

    @property
    def about(self) -> str:
        """Family, sizes and the note as one line."""
        sizes = f"{self.tokens:,} tokens at {self.image_size} px in patches of {self.patch_size}"
        parts = (self.family, f"{self.parameters / 1e6:,.1f} M parameters", sizes, self.note)
        return "; ".join(part for part in parts if part)

    @property
    def licences(self) -> dict[str, list[str]]:
        """The tags of the weights by licence."""
        found: dict[str, list[str]] = {}
        for tag, licence in sorted(self.weights.items()):
            found.setdefault(licence or "licence not stated", []).append(tag)
        return found


OWN = Entry(
    EMBEDDED,
    family="ViT",
    parameters=1_043_520,
    registers=0,
    tokens=17,
    image_size=32,
    patch_size=8,
    weights={"tiny_imagenet": "ImageNet's terms: non-commercial research and education"},
    note="embedded: 6 layers, width 96, pre-trained on Tiny-ImageNet",
)
"""The embedded backbone, listed without importing timm."""


def entries(pattern: str = "*") -> list[Entry]:
    """Returns the embedded backbone and the supported models of timm whose names match a wildcard, by name.

    Sizes are known once a model is built, which takes long for all of them. So the list of all is kept in the cache
    folder, for each version of timm, and then serves every pattern without timm.
    """
    own = [OWN] if fnmatchcase(EMBEDDED, pattern) else []
    if own and pattern != "*":
        return own
    file = default_folder() / f"backbones-{RULES}-timm-{version('timm')}.json"
    found = _read(file)
    if found is None:
        found = list(_built(pattern))
        if pattern == "*":
            _write(file, found)
    return own + [entry for entry in found if fnmatchcase(entry.name, pattern)]


def _read(file: Path) -> list[Entry] | None:
    """The entries in a file; None if it is missing or invalid."""
    try:
        return [Entry(**entry) for entry in json_files.read(file)["entries"]]
    except (KeyError, TypeError):
        return None


def _write(file: Path, found: list[Entry]) -> None:
    try:
        prepare(file.parent)
        json_files.write(file, {"entries": [asdict(entry) for entry in found]})
    except (OSError, DataError) as error:  # the list is complete without the file
        logger.info("the list of backbones is not cached: %s", error)


def _built(pattern: str) -> Iterator[Entry]:
    """Builds each supported model of timm that matches, without memory for its weights."""
    import timm

    from fedprompt.benchmark.backbone import families

    names = {name for module in families.MODULES for name in timm.list_models(module=module)}
    for name in sorted(name for name in names if fnmatchcase(name, pattern)):
        try:
            model = families.architecture(name)
            families.require_supported(name, model)
        except (ConfigError, NotImplementedError, RuntimeError):  # some cannot be built without memory for weights
            continue
        tags = [tag.partition(".")[2] for tag in timm.list_pretrained(f"{name}.*")]
        yield Entry(
            name,
            family=families.family(model),
            parameters=sum(value.numel() for value in model.parameters()),
            registers=model.num_prefix_tokens - 1,
            tokens=model.patch_embed.num_patches + model.num_prefix_tokens,
            image_size=model.patch_embed.img_size[0],
            patch_size=model.patch_embed.patch_size[0],
            weights={tag: timm.models.get_pretrained_cfg(f"{name}.{tag}").license or "" for tag in tags},
            note="trained to average its patches, but methods read cls" if families.averages_patches(model) else "",
        )
