from pathlib import Path

import pytest

from tests.mutation import IMPORTED, TARGETS, mutants, run, survey

ROOT = Path(__file__).parent.parent


def changes(source):
    return {(mutant.old, mutant.new) for mutant in mutants(source.encode())}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", {("a < b", "(a <= b)"), ("a < b", "(a >= b)")}),
        ("x = a + b // c", {("a + b // c", "(a - b // c)"), ("b // c", "(b * c)")}),
        ("x += a", {("x += a", "x -= a"), ("x += a", "pass")}),
        ("x = 3", {("3", "(4)")}),
        ("x = True", {("True", "(False)")}),
        ("x = not a", {("not a", "(a)")}),
        ("if a: b", {("a", "(not a)")}),
        ("while a or b: continue", {("a or b", "(a and b)"), ("a or b", "(not (a or b))"), ("continue", "break")}),
        ("f(a, b, c)", {("f(a, b, c)", "(f(b, a, c))"), ("f(a, b, c)", "pass")}),
        ("x = f(a, k=b)", {("f(a, k=b)", "(f(a))")}),
        ("x = min(a)", {("min", "(max)")}),
        ("x = a.any()", {("a.any", "(a.all)")}),
        ("def f(): return a", {("return a", "return None")}),
        ("a.b = c", {("a.b = c", "pass")}),
        ("if a:\n    raise E(1 + 2)", {("a", "(not a)"), ("raise E(1 + 2)", "pass")}),
    ],
)
def test_every_kind_of_change_is_made_and_no_other(source, expected):
    assert changes(source) == {(old, new) for old, new in expected}


@pytest.mark.parametrize(
    "source",
    [
        "import a",
        "x: Array[3, 4]",
        "def f(x: 3) -> 4: ...",
        "@f(1, 2)\ndef g(): ...",
        "x = f'{1 + 2}'",
        '"""1 + 2"""',
        "x = 'a'",
    ],
)
def test_annotations_imports_decorators_and_texts_are_not_changed(source):
    assert changes(source) == set()


def test_a_change_is_put_in_its_place_after_characters_of_several_bytes():
    (mutant,) = mutants("# µ\nx = 'ä', (\n  3)  # kept\n".encode())
    assert (mutant.line, str(mutant)) == (3, "3  ->  (4)")
    assert mutant.applied("# µ\nx = 'ä', (\n  3)  # kept\n".encode()).decode() == "# µ\nx = 'ä', (\n  (4))  # kept\n"


def test_sources_and_tests_of_every_target_exist():
    for sources, tests in TARGETS.values():
        assert all((ROOT / path).exists() for path in (sources, *tests))


@pytest.fixture
def toy(tmp_path):
    (tmp_path / "toy.py").write_text("def older(age, limit):\n    return age > limit\n")
    (tmp_path / "test_toy.py").write_text("import toy\n\ndef test_it():\n    assert toy.older(3, 2)\n")
    return tmp_path


def test_an_obvious_mutant_is_killed_and_one_that_no_test_notices_is_reported(toy, capsys):
    survivors = survey(toy, [toy / "toy.py"], ["test_toy.py"], sample=9, seed=0)
    assert survivors == ["toy.py:2: age > limit  ->  (age >= limit)"]
    killed = {
        line.partition("  ")[2].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("killed")
    }
    assert killed == {"toy.py:2: age > limit  ->  (age <= limit)", "toy.py:2: return age > limit  ->  return None"}
    assert (toy / "toy.py").read_text().endswith("return age > limit\n")


def test_failing_tests_without_a_mutation_are_refused(toy):
    (toy / "test_toy.py").write_text("assert False")
    with pytest.raises(SystemExit, match="the tests fail without a mutation"):
        survey(toy, [toy / "toy.py"], ["test_toy.py"], sample=1, seed=0)


def test_a_process_that_takes_too_long_has_no_exit_code(toy):
    assert run(toy, ["-c", "while True: pass"], limit=0.2) is None
    assert run(toy, ["-c", "import toy, sys; sys.exit(toy.older(3, 2))"]) == 1


def test_a_module_that_is_imported_from_elsewhere_is_noticed(toy):
    file = str((toy / "toy.py").resolve())
    assert run(toy, ["-c", IMPORTED, "toy", file]) == 0
    assert run(toy, ["-c", IMPORTED, "toy", file, "json", file]) == 1
