"""Checks that the nodes of a Ray cluster have the driver's package versions, before the first run."""

from collections.abc import Iterable, Mapping

from fedprompt.benchmark.errors import ConfigError
from fedprompt.benchmark.hardware import environment

PACKAGES = ("python", "torch", "torchvision", "timm", "numpy")
"""Packages whose versions affect the results."""
TIMEOUT = 120.0  # seconds for a node to unpack the code shipped to it and to answer


def check(nodes: Iterable[tuple[str, str]]) -> None:
    """Compares the versions on each node with the driver's.

    Args:
        nodes: Pairs of a node's name and Ray's id of it.

    Raises:
        ConfigError: A node has other versions, or cannot import the package.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0)(_versions)
    answers = [
        (name, remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote())
        for name, node in nodes
    ]
    driver = _versions()
    for name, answer in answers:
        try:
            versions = ray.get(answer, timeout=TIMEOUT)
        except (ray.exceptions.RayError, TimeoutError) as error:
            cause = str(error).strip().splitlines()[-1] or type(error).__name__
            raise ConfigError(
                f"node {name} cannot run the harness: {cause}\n"
                "Install the driver's packages there, or remove the node from the cluster."
            ) from error
        if message := difference(name, versions, driver):
            raise ConfigError(message)


def _versions() -> dict[str, str]:
    return environment.describe()


def difference(name: str, versions: Mapping[str, str], driver: Mapping[str, str]) -> str | None:
    """Returns an error message on the first version that differs between a node and the driver, or None.

    Builds for different devices, such as 2.4.0+cpu and 2.4.0+cu124, count as the same version.
    """
    for package in PACKAGES:
        expected, version = _public(package, driver[package]), _public(package, versions[package])
        if expected != version:
            fault = f"node {name} has no {package}" if version == "absent" else f"node {name} has {package} {version}"
            return f"{fault}; the driver has {expected}. Install the driver's version there, or remove the node."
    return None


def _public(package: str, version: str) -> str:
    return version.rpartition(".")[0] if package == "python" else version.partition("+")[0]
