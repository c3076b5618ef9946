import re

import pytest

from fedprompt.data.errors import DataError
from fedprompt.data.partitions import registry
from fedprompt.data.partitions.settings import PartitionSettings, fingerprint

KINDS = {
    "dirichlet",
    "dirichlet-class",
    "domain",
    "file",
    "iid",
    "leave-one-domain-out",
    "natural",
    "pathological",
    "quantity",
}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "dirichlt"}, "unknown partition 'dirichlt'; did you mean 'dirichlet'? available: dirichlet, dir"),
        ({"alpha": 0.0}, "--alpha 0 is not in 1e-06 to 1e+06"),
        ({"alpha": -1.0}, "--alpha -1 is not in"),
        ({"alpha": float("nan")}, "--alpha nan is not in"),
        ({"alpha": float("inf")}, "--alpha inf is not in"),
        ({"kind": "iid", "alpha": 0.5}, "--alpha 0.5 has no effect with --partition iid: remove one"),
        ({"kind": "dirichlet-class", "sizes": "equal"}, "--sizes equal has no effect with --partition dirichlet-class"),
        ({"classes_per_client": 2}, "--classes-per-client 2 has no effect with --partition dirichlet"),
        ({"domain": "photo"}, "--domain photo has no effect with --partition dirichlet"),
        ({"kind": "domain", "min_samples": 2}, "--min-samples 2 has no effect with --partition domain"),
        ({"partition_file": "p.json"}, "--partition-file p.json has no effect with --partition dirichlet"),
        ({"kind": "leave-one-domain-out"}, "--domain is missing: --partition leave-one-domain-out needs it"),
        (
            {"kind": "leave-one-domain-out", "domain": "a", "held_out": 1},
            "--held-out 1 has no effect with --partition l",
        ),
        ({"kind": "file"}, "--partition-file is missing: --partition file needs it"),
        ({"kind": "file", "partition_file": "/none.json"}, "--partition-file /none.json cannot be read: no such file"),
        ({"size_sigma": 1.0}, "--size-sigma 1 has no effect with --sizes equal: remove one"),
        ({"sizes": "lognormal", "size_sigma": 0.0}, "--size-sigma 0 must be above 0 and at most 3"),
        ({"sizes": "lognormal", "size_sigma": 3.1}, "--size-sigma 3.1 must be above 0 and at most 3"),
        ({"sizes": "lognorml"}, "unknown --sizes 'lognorml'; did you mean 'lognormal'?"),
        (
            {"kind": "domain", "clients": 4, "clients_per_domain": 2},
            "--clients-per-domain 2 has no effect with --clients",
        ),
        ({"kind": "pathological", "classes_per_client": 0}, "--classes-per-client 0 is too small: at least 1"),
        ({"validation": 1.0}, "--validation 1 is not a share: need 0 or more and less than 1"),
        ({"validation": -0.1}, "--validation -0.1 is not a share"),
        ({"clients": 1}, "--clients 1 is too small: at least 2"),
        ({"clients": 2.5}, "--clients 2.5 is not a whole number"),
        ({"held_out": 25}, "--held-out 25 leaves no client to train: at most 19 of 20 clients"),
        ({"held_out": 0.99}, "--held-out 0.99 leaves no client to train: at most 19 of 20 clients"),
        ({"held_out": -1}, "--held-out -1 is not a share below 1, a number of clients or a domain"),
        ({"held_out": float("nan")}, "--held-out nan is not a share"),
        ({"held_out": 1.5}, "--held-out 1.5 is not a whole number"),
    ],
)
def test_impossible_settings_are_refused_with_the_limit(settings, message):
    with pytest.raises(DataError, match=re.escape(message)):
        PartitionSettings(**settings)


@pytest.mark.parametrize(
    ("held_out", "clients", "expected"), [(0, 20, 0), (0.1, 20, 2), (0.1, 3, 1), (0.01, 100, 1), (1, 20, 1), (7, 20, 7)]
)
def test_held_out_is_a_share_below_one_and_a_number_from_one_on(held_out, clients, expected):
    assert PartitionSettings(clients=clients, held_out=held_out).held_out_clients(clients) == expected


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ({"alpha": 0.05, "clients": 7, "held_out": 3, "validation": 0.1}, "dirichlet(0.05)"),
        ({"sizes": "lognormal"}, "dirichlet(0.5, lognormal 1)"),
        ({"kind": "iid"}, "iid"),
        ({"kind": "pathological", "classes_per_client": 5}, "pathological(5)"),
        ({"kind": "domain"}, "domain"),
        ({"kind": "domain", "alpha": 1.0, "clients_per_domain": 3}, "domain(1, 3 a domain)"),
        ({"kind": "leave-one-domain-out", "domain": "photo"}, "leave-one-domain-out(photo)"),
        ({"kind": "natural", "min_samples": 5}, "natural(min 5)"),
        ({"kind": "file", "partition_hash": "0123456789abcdef"}, "file(01234567)"),
    ],
)
def test_the_label_names_the_kind_and_what_shapes_its_clients(settings, label):
    assert PartitionSettings(**settings).label == label


def test_settings_that_mean_the_same_are_equal():
    assert PartitionSettings() == PartitionSettings("dirichlet", 0.5, 20, 0.2, sizes="equal")
    assert PartitionSettings(alpha=1, clients=20, held_out=2) == PartitionSettings(alpha=1.0, clients=20, held_out=2.0)
    assert PartitionSettings("domain") == PartitionSettings("domain", clients_per_domain=1)


def test_a_partition_file_is_identified_by_content_not_by_path(tmp_path):
    for name, text in (("a", "[[0], [1]]"), ("b", "[[0], [1]]"), ("c", "[[1], [0]]")):
        (tmp_path / name).write_text(text)
    one, same, other = (PartitionSettings("file", partition_file=str(tmp_path / name)) for name in "abc")
    assert one == same
    assert (
        one.facts()
        == same.facts()
        == {"kind": "file", "validation": 0.0, "partition_hash": fingerprint(tmp_path / "a")}
    )
    assert one != other


def test_every_partition_has_a_one_line_description():
    assert set(registry.names()) == KINDS
    lines = {registry.find(name).description for name in KINDS}
    assert len(lines) == len(KINDS)
    assert all(20 < len(line) < 120 for line in lines)
