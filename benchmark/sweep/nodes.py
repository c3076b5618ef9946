"""What the nodes of a cluster must have in common with the driver, asked of each before the first run."""

from collections.abc import Iterable, Mapping

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware import environment

SAME = ("python", "torch", "torchvision", "timm", "numpy")
"""Whose versions the numbers of a table depend on."""
PATIENCE = 120.0  # seconds for a node to unpack the code that was shipped to it, and answer


def check(nodes: Iterable[tuple[str, str]]) -> None:
    """Asks every node, by its name and Ray's id of it; raises `ConfigError` for one that cannot run what is sent."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0)(_versions)
    asked = [
        (name, ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote())
        for name, node in nodes
    ]
    here = _versions()
    for name, reference in asked:
        try:
            there = ray.get(reference, timeout=PATIENCE)
        except (ray.exceptions.RayError, TimeoutError) as error:
            cause = str(error).strip().splitlines()[-1] or type(error).__name__
            raise ConfigError(
                f"node {name} cannot run the harness: {cause}\ninstall what the driver has there, or take it out."
            ) from error
        if said := difference(name, there, here):
            raise ConfigError(said)


def _versions() -> dict[str, str]:
    return environment.describe()


def difference(name: str, there: Mapping[str, str], here: Mapping[str, str]) -> str | None:
    """The first version in which a node differs from the driver, as a refusal; None where there is none.

    Builds of one version for different devices, as 2.4.0+cpu, are the same one.
    """
    for package in SAME:
        own, other = _public(package, here[package]), _public(package, there[package])
        if own != other:
            what = f"node {name} has no {package}" if other == "absent" else f"node {name} has {package} {other}"
            return f"{what}, and the driver {own}: install the driver's version there, or take the node out."
    return None


def _public(package: str, version: str) -> str:
    return version.rpartition(".")[0] if package == "python" else version.partition("+")[0]
