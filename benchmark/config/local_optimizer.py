"""Options of the local optimizer: the defaults of those that it has, and refusal of those that it does not have."""

from collections.abc import Collection, Mapping
from typing import Any

from fedprompt.benchmark.errors import ConfigError
from fedprompt.methods.registry import Recipe

ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
DEFAULTS: dict[str, dict[str, float]] = {"sgd": {"momentum": 0.9}, "adam": ADAM, "adamw": ADAM}
"""The options of each optimizer, with the defaults of `torch.optim.Adam` and `AdamW`."""
OPTIONS = tuple(dict.fromkeys(name for options in DEFAULTS.values() for name in options))


def local_training(recipe: Recipe, shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The options of local training of a method; those that its optimizer does not have are None.

    Args:
        recipe: The method and its optimisers.
        shared: All options of local training of the grid; None selects the optimizer's default.
        own: The options that are given for this method only.

    Raises:
        ConfigError: The optimizer does not have an option of `own`.
        MethodError: An optimiser of the recipe is defined for SGD only.
    """
    training = {**shared, **own}
    optimizer = training["optimizer"]
    refuse_without_effect(own, [optimizer], f"per-method {recipe.name} ")
    recipe.check_local_optimizer(optimizer)
    fields = DEFAULTS[optimizer].items()
    chosen = {name: default if training[name] is None else training[name] for name, default in fields}
    return {**training, **dict.fromkeys(OPTIONS), **chosen}


def without_idle(options: Mapping[str, Any], optimizer: str) -> dict[str, Any]:
    """The options without those that only other optimizers have."""
    idle = {name for name in OPTIONS if name not in DEFAULTS.get(optimizer, OPTIONS)}
    return {name: value for name, value in options.items() if name not in idle}


def refuse_without_effect(given: Mapping[str, Any], used: Collection[str], prefix: str = "--") -> None:
    """Raises ConfigError if an option is given that none of the optimizers in use has."""
    for name in OPTIONS:
        if given.get(name) is not None and not any(name in DEFAULTS[optimizer] for optimizer in used):
            owners = " or ".join(optimizer for optimizer, options in DEFAULTS.items() if name in options)
            raise ConfigError(
                f"{prefix}{name} {given[name]} has no effect with {' or '.join(used)}; omit it, "
                f"or choose --optimizer {owners}."
            )
