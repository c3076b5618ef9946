"""`bench new-method`: writes the file of a new method."""

import keyword
import re
from pathlib import Path

from fedprompt.benchmark.errors import ConfigError
from fedprompt.data.errors import reason
from fedprompt.methods import registry

TEMPLATE = '''"""{name}: describe the method in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedprompt.methods import Method, State, hyperparameter, register
from fedprompt.methods.components import prompts

if TYPE_CHECKING:
    from torch import Tensor

    from fedprompt.methods.base import Backbone, Batch, Streams


@register("{name}", paper="Authors, Title, venue", year={year}, family="global prompts")
class {class_name}(Method):
    """State what is trained, what is sent, what stays local, and how a held-out client predicts."""

    tokens: int = hyperparameter(4, "prompt tokens at the first layer", low=1)

    deviations = ("list the differences from the paper; every record stores them",)

    def shared(self, vit: Backbone, rng: Streams) -> State:
        """Tensors that clients train and the server averages. Define `local` for tensors that stay on a client."""
        return {{"prompt": prompts.vpt_uniform(vit, (self.tokens,), rng), **prompts.linear_head(vit, rng)}}

    def logits(self, vit: Backbone, batch: Batch, state: State) -> Tensor:
        """Class scores [B, C]. A batch may mix clients; `batch.own` gives each sample the value of its client."""
        x = vit.embed(batch)
        # `bench check` reports that the loss does not use the prompt. Uncomment the next line and check again.
        # x = prompts.insert_after_cls(x, batch.own(state["prompt"]))
        return prompts.classify(batch, vit.encode(x), state)
'''


def write(name: str, folder: Path, year: int) -> Path:
    """Writes the file of a new method into a folder and returns its path.

    Raises:
        ConfigError: The name is invalid or taken, or the file exists or cannot be written.
    """
    registry.discover()
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise ConfigError(f"bench new-method {name}: use lower-case letters, digits and hyphens, as in my-method.")
    if name in registry.METHODS or name in registry.OPTIMISERS:
        raise ConfigError(f"bench new-method {name}: the name is taken; `bench list methods` lists all names.")
    path = folder / f"{name.replace('-', '_')}.py"
    class_name = "".join(word.capitalize() for word in name.split("-"))
    try:
        with path.open("x") as file:
            file.write(TEMPLATE.format(name=name, class_name=class_name, year=year))
    except FileExistsError as error:
        raise ConfigError(f"{path} already exists; delete it or choose another name.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {reason(error)}.") from error
    return path
