"""The metrics of the report, and where rounds and clients hold them."""

from typing import NamedTuple


class Source(NamedTuple):
    """Where the values of a metric are.

    `round` is a column of the rounds, `client` one of the clients, of which the metric has the `group` "seen",
    "trained" or "held out".
    """

    title: str
    round: str
    client: str
    group: str

    @property
    def clients(self) -> str:
        """The values of clients: metrics with equal ones share a chart."""
        return f"{self.client} {self.group}"


METRICS = {  # the metrics to choose from
    "seen.mean": Source("seen clients, mean", "seen_mean", "accuracy", "seen"),
    "trained.mean": Source("trained clients, mean", "trained_mean", "accuracy", "trained"),
    "seen.worst": Source("seen clients, worst", "seen_worst", "accuracy", "seen"),
    "held_out.mean": Source("held-out clients, mean", "held_out_mean", "accuracy", "held out"),
    "personalised.mean": Source(
        "seen clients, personalised, mean", "personalised_mean", "accuracy_personalised", "seen"
    ),
    "held_out_personalised.mean": Source(
        "held-out clients, personalised, mean", "held_out_personalised_mean", "accuracy_personalised", "held out"
    ),
    "prior.seen.mean": Source("seen clients, mean, prior-corrected", "seen_mean_prior", "accuracy_prior", "seen"),
}
ROUND_COLUMNS = list(dict.fromkeys(source.round for source in METRICS.values()))
CLIENT_COLUMNS = list(dict.fromkeys(source.client for source in METRICS.values()))
