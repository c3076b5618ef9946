"""Partitions with feature shift: every client holds images of one domain."""

import numpy as np

from fedprompt.data.dataset import Array, DataSet
from fedprompt.data.errors import DataError, unknown
from fedprompt.data.partitions.assignment import Assignment, Labels, assign
from fedprompt.data.partitions.labels import dirichlet_priors
from fedprompt.data.partitions.registry import partition


@partition("domain")
def by_domain(
    dataset: DataSet,
    rng: np.random.Generator,
    *,
    alpha: float | None = None,
    clients: int | None = None,
    clients_per_domain: int | None = None,
) -> Assignment:
    """Each domain is one client, or several of equal size, with Dirichlet(alpha) label skew inside on request.

    `clients` are spread evenly over the domains; what does not go round goes to the domains named first.
    """
    if dataset.train_domains is None or dataset.test_domains is None:
        raise DataError(f"{dataset.name} has no domains: partitions by domain need a data set that names several")
    numbers = _clients_of_domains(dataset, alpha, clients, clients_per_domain)
    train: list[Array] = []
    test: list[Array] = []
    wanted, domains = [], []
    for domain, (name, number) in enumerate(zip(dataset.domains, numbers, strict=True)):
        own, tests = (np.flatnonzero(part == domain) for part in (dataset.train_domains, dataset.test_domains))
        if len(own) < number:
            raise DataError(f"domain {name!r} has {len(own)} training samples for {number} clients: ask for fewer")
        labels = Labels(dataset.train_y[own], dataset.test_y[tests])
        counts = np.bincount(labels.train_y, minlength=len(dataset.classes))
        wishes = (
            dirichlet_priors(alpha, number, len(counts), rng) if alpha else np.tile(counts / counts.sum(), (number, 1))
        )
        dealt = assign(labels, wishes, rng)
        train += [own[positions] for positions in dealt.train]
        test += [tests[positions] for positions in dealt.test]
        wanted.append(wishes)
        domains += [name] * number
    return Assignment(train, test, np.concatenate(wanted), domains)


@partition("leave-one-domain-out", chosen={})
def leave_one_domain_out(
    dataset: DataSet,
    rng: np.random.Generator,
    *,
    domain: str,
    alpha: float | None = None,
    clients: int | None = None,
    clients_per_domain: int | None = None,
) -> Assignment:
    """As `domain`, and the clients of the domain named are the held-out ones."""
    if dataset.domains and domain not in dataset.domains:
        raise unknown("domain", domain, dataset.domains)
    return by_domain(dataset, rng, alpha=alpha, clients=clients, clients_per_domain=clients_per_domain)


def _clients_of_domains(
    dataset: DataSet, alpha: float | None, clients: int | None, clients_per_domain: int | None
) -> list[int]:
    count = len(dataset.domains)
    if clients is not None and clients < count:
        raise DataError(f"--clients {clients} is too few: {dataset.name} has {count} domains, and each is a client")
    each, more = divmod(clients, count) if clients is not None else (clients_per_domain or 1, 0)
    if alpha is not None and each + (more > 0) == 1:
        raise DataError(
            f"--alpha {alpha:g} has no effect with one client a domain: drop it, or add --clients-per-domain"
        )
    return [each + (domain < more) for domain in range(count)]
