"""The file that a new method starts from."""

import keyword
import re
from pathlib import Path

from fedprompt.benchmark.errors import ConfigError
from fedprompt.methods import registry

TEMPLATE = '''"""{name}: say here in a line what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods.base import Backbone, Batch, Method, State, Streams, hyperparameter
from fedprompt.methods.components.prompts import classify, insert_after_cls, linear_head, vpt_uniform
from fedprompt.methods.registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("{name}", paper="Authors, Title, venue", year={year}, family="global prompts")
class {class_name}(Method):
    """What trains, what travels and what stays with a client; what a held-out client predicts with."""

    tokens: int = hyperparameter(4, "prompt tokens at the first layer", low=1)

    deviations = ("what differs from the paper; every record carries it",)

    def shared(self, vit: Backbone, rng: Streams) -> State:
        """What clients train and the server averages; `local` would be what each client keeps."""
        return {{"prompt": vpt_uniform(vit, (self.tokens,), rng), **linear_head(vit, rng)}}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C]; `batch.own` gives each sample its own client's value, so that one text serves many."""
        x = vit.embed(batch)
        # `bench check` says that the loss does not use the prompt: put it in by the next line, and check again.
        # x = insert_after_cls(x, batch.own(state["prompt"]))
        return classify(batch, vit.encode(x), state)
'''


def write(name: str, folder: Path, year: int) -> Path:
    """Writes the file of a new method `name` into a folder, and returns its path.

    Raises `ConfigError` for a name that is taken or no name, and where the file cannot be written or is there.
    """
    registry.discover()
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise ConfigError(f"bench new-method {name}: a name is small letters, digits and hyphens, as in my-method.")
    if name in registry.METHODS or name in registry.OPTIMISERS:
        raise ConfigError(
            f"bench new-method {name}: the name is taken; `bench list methods` shows all, choose another."
        )
    path = folder / f"{name.replace('-', '_')}.py"
    words = "".join(word.capitalize() for word in name.split("-"))
    try:
        with path.open("x") as file:
            file.write(TEMPLATE.format(name=name, class_name=words, year=year))
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already; remove it, or choose another name.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {(error.strerror or '').lower()}.") from error
    return path
