"""Partitions with feature shift: every client has images of one domain."""

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

    `clients` are divided evenly among the domains; the first domains get the remainder.
    """
    if dataset.train_domains is None or dataset.test_domains is None:
        raise DataError(f"{dataset.name} has no domains: choose another data set or partition")
    numbers = _clients_of_domains(dataset, alpha, clients, clients_per_domain)
    train: list[Array] = []
    test: list[Array] = []
    target, domains = [], []
    for domain, (name, number) in enumerate(zip(dataset.domains, numbers, strict=True)):
        rows, test_rows = (np.flatnonzero(part == domain) for part in (dataset.train_domains, dataset.test_domains))
        if len(rows) < number:
            raise DataError(
                f"domain {name!r} has {len(rows)} training samples for {number} clients: reduce the number of clients"
            )
        labels = Labels(dataset.train_y[rows], dataset.test_y[test_rows])
        counts = np.bincount(labels.train_y, minlength=len(dataset.classes))
        if alpha:
            shares = dirichlet_priors(alpha, number, len(counts), rng)
        else:
            shares = np.tile(counts / counts.sum(), (number, 1))
        assignment = assign(labels, shares, rng)
        train += [rows[positions] for positions in assignment.train]
        test += [test_rows[positions] for positions in assignment.test]
        target.append(shares)
        domains += [name] * number
    return Assignment(train, test, np.concatenate(target), domains)


@partition("leave-one-domain-out", extra_options={})
def leave_one_domain_out(
    dataset: DataSet,
    rng: np.random.Generator,
    *,
    domain: str,
    alpha: float | None = None,
    clients: int | None = None,
    clients_per_domain: int | None = None,
) -> Assignment:
    """As `domain`; the clients of the given domain are held out."""
    if dataset.domains and domain not in dataset.domains:
        raise unknown("domain", domain, dataset.domains)
    return by_domain(dataset, rng, alpha=alpha, clients=clients, clients_per_domain=clients_per_domain)


def _clients_of_domains(
    dataset: DataSet, alpha: float | None, clients: int | None, clients_per_domain: int | None
) -> list[int]:
    """Returns the number of clients per domain."""
    count = len(dataset.domains)
    if clients is not None and clients < count:
        raise DataError(f"--clients {clients} is too small: {dataset.name} has {count} domains, each needs a client")
    each, remainder = divmod(clients, count) if clients is not None else (clients_per_domain or 1, 0)
    if alpha is not None and each + (remainder > 0) == 1:
        raise DataError(
            f"--alpha {alpha:g} has no effect with one client per domain: remove it, or add --clients-per-domain"
        )
    return [each + (domain < remainder) for domain in range(count)]
