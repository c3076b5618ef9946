import dataclasses
import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from fedprompt.methods import (
    Method,
    MethodError,
    Optimiser,
    discovery,
    hyperparameter,
    register,
    register_optimiser,
    registry,
)
from fedprompt.methods.registry import create, discover, expand, load_plugin, parse_settings

PLUGIN = """
from fedprompt.methods import Method, hyperparameter, register

@register("{name}", paper="none", year=2026, family="test", variants={{"wide": {{"width": 7}}}})
class Mine(Method):
    width: int = hyperparameter(3, "width", low=1)
"""


@pytest.fixture(autouse=True)
def own_tables(registry_tables):
    """Undoes registrations and plug-in imports after each test."""
    before = set(sys.modules)
    yield
    for module in set(sys.modules) - before:
        if module.startswith("bench_plugin_"):
            del sys.modules[module]


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(name="mine"))
    return path


def refusal(call, *arguments):
    """The message of the `MethodError` that a call raises."""
    with pytest.raises(MethodError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.count("\n") <= 1, "an error is one or two lines"
    return message


def test_a_plain_name_gives_the_defaults():
    recipe = create("fedvpt")
    assert (recipe.name, recipe.optimisers) == ("fedvpt", ())
    assert recipe.settings == {"fedvpt": {"tokens": 10}}
    assert recipe.versions == {"fedvpt": 1}


def test_a_variant_is_a_set_of_field_values():
    assert create("pep-fedpt:gaussian").settings["pep-fedpt"]["similarity"] == "gaussian"
    assert create("pep-fedpt:no-shared").settings["pep-fedpt"]["shared_tokens"] == 0
    assert create("fedvpt-deep:append").settings["fedvpt-deep"]["mode"] == "append"


def test_settings_override_defaults_of_methods_and_optimisers():
    settings: dict[str, dict[str, Any]] = {
        "pep-fedpt": {"tau": 0.5, "class_tokens": 2},
        "fedprox": {"mu": 0.3},
        "fedvpt": {"tokens": 99},
    }
    recipe = create("pep-fedpt:no-shared+fedprox+fedavgm", settings)
    assert [o.name for o in recipe.optimisers] == ["fedprox", "fedavgm"]
    assert recipe.settings["pep-fedpt"] | {"tau": 0.5, "class_tokens": 2} == recipe.settings["pep-fedpt"]
    assert recipe.settings["fedprox"] == {"mu": 0.3}
    assert recipe.settings["fedavgm"] == {"beta": 0.9, "lr": 1.0, "head_lr": None}
    assert set(recipe.settings) == set(recipe.versions) == {"pep-fedpt", "fedprox", "fedavgm"}


def test_a_field_fixed_by_a_variant_cannot_be_changed():
    with pytest.raises(MethodError, match=r"pep-fedpt.mixing is fixed by the variant pep-fedpt:prior"):
        create("pep-fedpt:prior", {"pep-fedpt": {"mixing": "hard"}})
    assert create("pep-fedpt:prior", {"pep-fedpt": {"mixing": "prior"}}).settings["pep-fedpt"]["mixing"] == "prior"


def test_a_file_corrected_after_a_failure_is_imported_again(tmp_path):
    text = """
from fedprompt.methods import register
from fedprompt.methods.fedvpt import FedVPT

@register("mended", paper="p", year=2026, family="f")
class Mended(FedVPT):
    pass
"""
    file = tmp_path / "mended.py"
    file.write_text(text + "raise RuntimeError('half-way')")
    with pytest.raises(MethodError, match="half-way"):
        load_plugin(file)
    assert "mended" not in registry.METHODS
    file.write_text(text)
    load_plugin(file)
    assert registry.METHODS.pop("mended").name == "mended"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("fedvpt:", ["fedvpt has no variant ''"]),
        ("fedvpt+fedprox+fedprox", ["names an optimiser twice"]),
        ("FedVPT", ["unknown method 'FedVPT' (did you mean 'fedvpt'?)"]),
        ("PEP-FedPT:Prior", ["unknown method 'PEP-FedPT' (did you mean 'pep-fedpt'?)"]),
        ("fedvpt+LA", ["unknown optimiser 'LA' (did you mean 'la'?)"]),
        ("fedvtp", ["unknown method 'fedvtp' (did you mean 'fedvpt'?)", "; available: ", ", fedvpt, fedvpt-deep, "]),
        ("zzz", ["unknown method 'zzz'; available: "]),
        ("", ["unknown method ''"]),
        ("all", ["unknown method 'all'"]),
        ("pep-fedpt:pior", ["pep-fedpt has no variant 'pior' (did you mean 'prior'?)", "variants: prior, prototype, "]),
        ("fedvpt:prior", ["fedvpt has no variant 'prior'; variants: none."]),
        ("fedvpt+fedprx", ["unknown optimiser 'fedprx' (did you mean 'fedprox'?)", "available: fedadam, fedav"]),
        ("fedvpt+head", ["unknown optimiser 'head'"]),
        ("fedprox", ["unknown method 'fedprox'"]),
        ("fedvpt+", ["unknown optimiser ''"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_available_ones(name, parts):
    message = refusal(create, name)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("fedvpt.tokens=5", {"fedvpt": {"tokens": 5}}),
        ("fedvpt.tokens= 5", {"fedvpt": {"tokens": 5}}),
        ("pep-fedpt.tau=1e6", {"pep-fedpt": {"tau": 1e6}}),
        ("pep-fedpt.layer=null", {"pep-fedpt": {"layer": None}}),
        ("pep-fedpt.weights_gradient=true", {"pep-fedpt": {"weights_gradient": True}}),
        ("fedvpt-deep.mode=append", {"fedvpt-deep": {"mode": "append"}}),
        ("fedprox.mu=0", {"fedprox": {"mu": 0.0}}),
    ],
)
def test_an_assignment_is_parsed_and_typed(text, settings):
    assert parse_settings([text]) == settings


def test_later_assignments_override_earlier_ones():
    texts = ["fedvpt.tokens=5", "pep-fedpt.tau=0.2", "pep-fedpt.beta=0", "fedvpt.tokens=6"]
    assert parse_settings(texts) == {"fedvpt": {"tokens": 6}, "pep-fedpt": {"tau": 0.2, "beta": 0.0}}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("fedvpt.tokens", ["--set 'fedvpt.tokens' is not of the form METHOD.FIELD=VALUE"]),
        ("tokens=5", ["--set 'tokens=5' is not of the form METHOD.FIELD=VALUE"]),
        ("fedvtp.tokens=5", ["unknown method 'fedvtp' (did you mean 'fedvpt'?)"]),
        ("fedvpt.token=5", ["fedvpt has no field 'token' (did you mean 'tokens'?); fields: tokens."]),
        ("head.tokens=5", ["head has no field 'tokens'; fields: none."]),
        ("fedvpt.tokens=0", ["fedvpt.tokens=0 is out of range: it must be at least 1."]),
        ("pep-fedpt.beta=1.5", ["pep-fedpt.beta=1.5 is out of range: it must be from 0 to 1."]),
        ("pep-fedpt.beta=-0.1", ["pep-fedpt.beta=-0.1 is out of range: it must be from 0 to 1."]),
        ("pep-fedpt.tau=.nan", ["pep-fedpt.tau=nan is not a finite number"]),
        ("fedvpt.tokens=many", ["fedvpt.tokens=many: ", "integer"]),
        ("fedvpt.tokens=2.5", ["fedvpt.tokens=2.5: ", "integer"]),
        ("fedvpt-deep.mode=apend", ["fedvpt-deep.mode=apend: ", "'replace' or 'append'"]),
        ("fedvpt.tokens=[", ["--set 'fedvpt.tokens=[': the value is not valid YAML."]),
    ],
)
def test_an_invalid_assignment_is_refused_with_the_limit(text, parts):
    message = refusal(parse_settings, [text])
    assert all(part in message for part in parts), message


def test_wildcards_select_methods_or_variants():
    methods = sorted(registry.METHODS)
    assert expand(["*"]) == methods
    assert expand(["fedvpt*"]) == [name for name in methods if name.startswith("fedvpt")]
    assert expand(["fedvpt-d*"]) == ["fedvpt-deep"]
    assert expand(["pep-fedpt:pro*"]) == ["pep-fedpt:prototype"]
    assert expand(["pep-fedpt:*"]) == [f"pep-fedpt:{v}" for v in registry.METHODS["pep-fedpt"].variants]
    assert expand(["fedvpt-d*+fedprox", "fedvp?+fedprox"]) == ["fedvpt-deep+fedprox", "fedvpt+fedprox"]
    assert expand(["fedvpt-d*:*+scaffold"]) == ["fedvpt-deep:append+scaffold"]


def test_all_is_every_method_and_the_variants_that_methods_are_compared_with():
    assert expand(["all"]) == sorted([*registry.METHODS, "fedproto:head"])
    assert registry.METHODS["fedproto"].compared == ("head",)
    assert registry.METHODS["fedvpt-deep"].compared == ()  # it has a variant


def test_a_wildcard_with_an_optimiser_selects_the_methods_it_fits():
    methods = set(registry.METHODS)
    left_out = {
        optimiser: methods - {name.partition("+")[0] for name in expand([f"all+{optimiser}"])}
        for optimiser in ("fedprox", "fedavgm", "scaffold")
    }
    sharing_nothing = {"local", "fedncm", "fed3r", "fedcof"}
    assert sharing_nothing <= left_out["fedprox"]
    rebuilding = {"pfpt", "pfedpg", "flexlora", "fedex-lora", "fedpac", "fedmgp"}
    assert left_out["fedavgm"] == left_out["scaffold"] == left_out["fedprox"] | rebuilding
    assert expand(["pfpt*+fedprox", "pf*t+scaffold"]) == ["pfpt+fedprox", "pfedpt+scaffold"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("local+fedprox", ["local+fedprox: local trains no shared tensors", " act on; drop +fedprox."]),
        ("fedcof+fedadam", ["fedcof trains no shared tensors"]),
        ("pfedme+fedprox", ["pfedme updates its averaged model without gradients", "; drop +fedprox."]),
        ("pfpt+fedadam", ["pfpt+fedadam: fedadam keeps state between rounds, but pfpt infers new prompts"]),
        ("pfedpg:base+scaffold", ["scaffold keeps state between rounds, but pfedpg generates", ", or use fedprox."]),
        ("flexlora+fedprox+feddyn", ["feddyn keeps", "but flexlora factorises the mean", "; drop +feddyn, or"]),
        ("fedex-lora+fedadam", ["fedadam keeps", "but fedex-lora keeps what the averages", "; drop +fedadam, or"]),
    ],
)
def test_an_optimiser_that_does_not_fit_a_method_is_refused_with_the_reason(name, parts):
    message = refusal(create, name)
    assert all(part in message for part in parts), message


def test_expansion_keeps_the_order_and_drops_duplicates():
    assert expand(["head", "fedvpt", "fedvp?", "head"]) == ["head", "fedvpt"]


@pytest.mark.parametrize("pattern", ["nothing*", "fedvpt:*", "nosuch", "fedvpt*+nosuch"])
def test_a_pattern_that_matches_nothing_is_refused(pattern):
    refusal(expand, [pattern])


def test_a_plugin_file_registers_its_method_once(plugin):
    load_plugin(plugin)
    assert create("mine:wide").settings == {"mine": {"width": 7}}
    cls = registry.METHODS["mine"]
    load_plugin(plugin)  # workers may load a file again
    assert registry.METHODS["mine"] is cls


def test_a_plugin_file_that_is_absent_is_refused(tmp_path):
    assert refusal(load_plugin, tmp_path / "no.py").endswith("no.py: there is no such file.")


def test_a_plugin_file_that_is_not_python_is_refused(tmp_path):
    file = tmp_path / "mine.txt"
    file.touch()
    assert "its name must end in .py" in refusal(load_plugin, file)


def test_a_failing_plugin_file_is_refused_with_the_reason_and_can_be_corrected(plugin):
    content = plugin.read_text()
    plugin.write_text("import nothing_of_this_name\n")
    message = refusal(load_plugin, plugin)
    assert "cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'" in message
    plugin.write_text(content + "\n")
    load_plugin(plugin)
    assert create("mine").name == "mine"


def test_a_plugin_file_without_a_method_is_refused(plugin):
    plugin.write_text("x = 1\n")
    assert "registers no method: decorate its class with @register(...)" in refusal(load_plugin, plugin)


@pytest.mark.parametrize(("taken", "module"), [("fedvpt", "fedvpt"), ("fedprox", "optimisers.fedprox")])
def test_a_plugin_cannot_use_a_registered_name(plugin, taken, module):
    before = dict(registry.METHODS)
    plugin.write_text(PLUGIN.format(name=taken))
    message = refusal(load_plugin, plugin)
    assert f"the name {taken!r} is taken by fedprompt.methods.{module}: choose another." in message
    assert before == registry.METHODS


@pytest.fixture
def entry_points(monkeypatch, tmp_path):
    """Installs modules (entry point name -> source) in an entry-point group."""
    points: list[EntryPoint] = []
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(discovery, "_entry_points", lambda: points)

    def install(group, **sources):
        for name, source in sources.items():
            module = f"third_party_{len(points)}"
            (tmp_path / f"{module}.py").write_text(source)
            points.append(EntryPoint(name, module, group))

    yield install
    for point in points:
        sys.modules.pop(point.module, None)


@pytest.mark.parametrize("group", ["fedprompt.methods", "bench.methods"])
def test_a_broken_entry_point_is_reported_and_the_others_load(entry_points, group):
    entry_points(group, broken="raise RuntimeError('no licence')\n", sound=PLUGIN.format(name="sound"))
    discover()
    assert create("sound").settings == {"sound": {"width": 3}}
    assert registry.BROKEN == {"broken": "RuntimeError: no licence"}
    assert "comes from an entry point that failed to import: RuntimeError: no licence" in refusal(create, "broken")


EARLY = ["raise SystemExit(0)", "raise GeneratorExit", "raise BaseException('odd')", "1 / 0"]


@pytest.mark.parametrize("statement", EARLY)
def test_an_entry_point_that_ends_the_program_is_left_out_by_name_with_what_it_registered(
    statement, entry_points, caplog
):
    before = dict(registry.METHODS)
    broken = PLUGIN.format(name="half") + f"\n{statement}\n"
    entry_points("fedprompt.methods", broken=broken, sound=PLUGIN.format(name="sound"))
    discover()
    assert registry.METHODS.keys() == {*before, "sound"}
    assert f"plug-in broken failed to import and is left out: {registry.BROKEN['broken']}" in caplog.text


@pytest.mark.parametrize("statement", EARLY)
def test_a_plugin_file_that_ends_the_program_is_refused_and_taken_back(statement, plugin):
    before = dict(registry.METHODS)
    plugin.write_text(f"{plugin.read_text()}\n{statement}\n")
    assert f"{plugin} cannot be imported: " in refusal(load_plugin, plugin)
    assert before == registry.METHODS


def test_ctrl_c_during_the_import_of_a_plugin_is_no_error_of_the_plugin(plugin, entry_points):
    plugin.write_text(f"{plugin.read_text()}\nraise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_plugin(plugin)
    assert "mine" not in registry.METHODS
    entry_points("fedprompt.methods", broken="raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        discover()


@pytest.mark.parametrize("body", ["raise Unprintable", "raise ValueError('first\\nsecond')"])
def test_the_reason_of_a_broken_plugin_is_one_line(body, plugin):
    plugin.write_text(f"class Unprintable(Exception):\n    def __str__(self): 1 / 0\n\n{body}\n")
    assert "\n" not in refusal(load_plugin, plugin)


def test_of_an_entry_point_in_both_groups_the_one_in_the_new_group_loads(entry_points):
    entry_points("bench.methods", mine="from methods.base import Method", other=PLUGIN.format(name="other"))
    entry_points("fedprompt.methods", mine=PLUGIN.format(name="mine"))
    discover()
    assert create("mine").settings == {"mine": {"width": 3}}
    assert create("other").settings == {"other": {"width": 3}}
    assert registry.BROKEN == {}


def test_registration_sets_name_paper_year_and_family():
    @register("ours", paper="A paper", year=2020, family="a family")
    class Ours(Method):
        width: int = hyperparameter(3, "width", low=1)

    @register_optimiser("step", paper="Another", year=2021)
    class Step(Optimiser):
        pass

    assert (Ours.name, Ours.paper, Ours.year, Ours.family, Ours.variants) == ("ours", "A paper", 2020, "a family", {})
    assert create("ours+step").settings == {"ours": {"width": 3}, "step": {}}
    with pytest.raises(AttributeError):  # frozen
        create("ours").method.width = 4


@pytest.mark.parametrize("name", sorted(registry.METHODS) + sorted(registry.OPTIMISERS))
def test_every_registered_class_has_a_paper_a_family_a_summary_and_documented_fields(name):
    cls = registry.METHODS.get(name) or registry.OPTIMISERS[name]
    assert cls.name == name
    assert cls.paper
    assert cls.family
    assert cls.__doc__
    assert 2016 <= cls.year <= 2030
    assert all(field.metadata["meaning"] for field in dataclasses.fields(cls))


@pytest.mark.parametrize("name", [f"{m}:{v}" for m, cls in registry.METHODS.items() for v in cls.variants])
def test_every_variant_changes_the_method(name):
    assert create(name).method != create(name.partition(":")[0]).method


def test_importing_the_registry_does_not_scan_installed_packages():
    code = "import sys; before = {*sys.modules}; import fedprompt.methods; print(*{*sys.modules} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "fedprompt.methods.registry" in done.stdout.split()
    assert not {"importlib.metadata", "pydantic"} & {*done.stdout.split()}


def test_listing_methods_does_not_import_torch():
    code = "import sys; from fedprompt.methods.registry import discover, create; discover()"
    code += "; create('pep-fedpt:prior+fedprox')"
    heavy = "sys.exit(' '.join({'torch', 'timm', 'numpy', 'pandas', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", f"{code}; {heavy}"], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
