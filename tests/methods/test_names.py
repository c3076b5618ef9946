"""Names with values, METHOD:FIELD=VALUE: one name for the same run, checked like --set."""

import pytest

from fedprompt.methods import MethodError, registry
from fedprompt.methods.names import parse_value, spell
from fedprompt.methods.registry import create, expand


@pytest.mark.parametrize(
    ("name", "canonical", "values"),
    [
        ("pep-fedpt:tau=0.3", "pep-fedpt:tau=0.3", {"tau": 0.3}),
        ("pep-fedpt:tau=0.30", "pep-fedpt:tau=0.3", {"tau": 0.3}),
        ("pep-fedpt:tau=1", "pep-fedpt:tau=1", {"tau": 1.0}),
        ("pep-fedpt:tau=1.0", "pep-fedpt:tau=1", {"tau": 1.0}),
        ("pep-fedpt:tau=.00001", "pep-fedpt:tau=1e-05", {"tau": 1e-5}),
        ("pep-fedpt:tau=1e-05", "pep-fedpt:tau=1e-05", {"tau": 1e-5}),
        ("pep-fedpt:tau=1e20", "pep-fedpt:tau=1e20", {"tau": 1e20}),
        ("pep-fedpt:beta=-0.0", "pep-fedpt:beta=0", {"beta": 0.0}),
        ("pep-fedpt:weights_gradient=yes", "pep-fedpt:weights_gradient=true", {"weights_gradient": True}),
        ("pep-fedpt:tau=0.3:layer=3", "pep-fedpt:layer=3:tau=0.3", {"layer": 3, "tau": 0.3}),
        ("pep-fedpt:tau=0.3:hard", "pep-fedpt:hard:tau=0.3", {"mixing": "hard", "tau": 0.3}),
        ("pep-fedpt:hard:tau=0.3+la", "pep-fedpt:hard:tau=0.3+la", {"mixing": "hard", "tau": 0.3}),
        ("fedvpt:tokens= 5+fedprox+la", "fedvpt:tokens=5+fedprox+la", {"tokens": 5}),
        # Values of a named variant have its name; of two variants the first declared one.
        ("pep-fedpt:mixing=prior", "pep-fedpt:prior", {"mixing": "prior"}),
        ("pep-fedpt:cosine:mixing=prior", "pep-fedpt:prior:similarity=cosine", {"similarity": "cosine"}),
        ("pep-fedpt:mixing=prior:similarity=cosine", "pep-fedpt:prior:similarity=cosine", {"mixing": "prior"}),
    ],
)
def test_the_same_values_have_one_name(name, canonical, values):
    recipe = create(name)
    assert recipe.name == canonical
    assert recipe.settings[recipe.method.name].items() >= values.items()
    assert create(canonical).name == canonical
    assert expand([name, canonical]) == [canonical]


def test_the_variant_that_stands_for_most_values_names_them(monkeypatch):
    monkeypatch.setattr(registry.METHODS["pep-fedpt"], "variants", {"a": {"tau": 0.3}, "b": {"tau": 0.3, "beta": 0.0}})
    assert create("pep-fedpt:tau=0.3:beta=0").name == "pep-fedpt:b"
    assert create("pep-fedpt:a:beta=0:layer=3").name == "pep-fedpt:b:layer=3"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fedvpt:token=5", "fedvpt has no field 'token' (did you mean 'tokens'?); fields: tokens."),
        ("fedvpt:tokens=0", "fedvpt.tokens=0 is out of range: it must be at least 1."),
        ("fedvpt:tokens=many", "fedvpt.tokens=many: "),
        ("fedvpt:tokens=", "fedvpt.tokens=None: "),
        ("fedvpt:tokens=[", "fedvpt:tokens=[: the value is not valid YAML."),
        ("fedvpt:tokens=10", "fedvpt:tokens=10 is the default of tokens; leave it out."),
        ("pep-fedpt:tau=0.10", "pep-fedpt:tau=0.10 is the default of tau; leave it out."),
        ("pep-fedpt:layer=null", "pep-fedpt:layer=null is the default of layer; leave it out."),
        ("fedvpt:tokens=5:tokens=6", "fedvpt:tokens=5:tokens=6 gives tokens twice; give it once."),
        ("pep-fedpt:prior:mixing=hard", "pep-fedpt:mixing=hard: the variant pep-fedpt:prior fixes mixing; drop one"),
        ("pep-fedpt:prior:hard", "pep-fedpt:prior:hard names two variants; name one, and other values as in pep-fedpt"),
        ("pep-fedpt:pior:tau=0.3", "pep-fedpt has no variant 'pior' (did you mean 'prior'?)"),
        ("fedvtp:tokens=5", "unknown method 'fedvtp' (did you mean 'fedvpt'?)"),
        ("fedvpt+fedprox:mu=1", "+fedprox:mu=1: a method's values precede its plug-ins; --set fedprox.FIELD=VALUE"),
    ],
)
def test_wrong_values_are_refused_like_those_of_set(name, message):
    for call in (create, lambda name: expand([name])):
        with pytest.raises(MethodError) as caught:
            call(name)
        assert message in str(caught.value)


def test_set_cannot_change_a_value_of_the_name():
    with pytest.raises(MethodError, match=r"pep-fedpt.tau is fixed by the variant pep-fedpt:tau=0.3: leave it, or use"):
        create("pep-fedpt:tau=0.3", {"pep-fedpt": {"tau": 0.5}})
    recipe = create("pep-fedpt:tau=0.3", {"pep-fedpt": {"tau": 0.3, "beta": 0.0}})
    assert recipe.settings["pep-fedpt"].items() >= {"tau": 0.3, "beta": 0.0}.items()


def test_a_wildcard_with_a_value_selects_the_methods_that_have_the_field():
    chosen = expand(["fedvpt*:tokens=7"])
    assert "fedvpt:tokens=7" in chosen
    assert all(name.endswith(":tokens=7") for name in chosen)
    with pytest.raises(MethodError, match="has no field 'nothing'"):
        expand(["fedvpt*:nothing=7"])


def test_a_wildcard_of_variants_takes_values_and_plugins():
    assert expand(["pep-fedpt:pr*:tau=0.3+la"]) == ["pep-fedpt:prior:tau=0.3+la", "pep-fedpt:prototype:tau=0.3+la"]


@pytest.mark.parametrize("value", [None, True, False, 0, 7, 0.1, 1.0, 1e-12, 1e300, 123456789.125, "centred-cosine"])
def test_a_spelt_value_is_read_back(value):
    text = spell(value)
    assert parse_value(text, "") == value
    assert not set("+:") & set(text)


@pytest.mark.parametrize(
    "text",
    ["2024-13-45", "!!timestamp x", "!!int ''", "[" * 150, "[&a [x], *a]", "x" * 201, "!!bool maybe"],
)
def test_a_value_that_yaml_cannot_hold_or_that_is_too_long_is_refused(text):
    with pytest.raises(MethodError, match="here: the value"):
        parse_value(text, "here")
