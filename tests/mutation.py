"""Changes one expression or statement at a time and reports which changes the tests do not notice.

`python -m tests.mutation TARGET --sample N --seed S` draws N mutants of the target's files and runs the target's tests
on each, in a temporary copy of the packages. TARGET is simulation, execute, partitions, statistics or pep-fedpt. A
survivor is either equivalent to the original or lacks a test.
"""

import argparse
import ast
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tools.link_packages import PACKAGES, link

ROOT = Path(__file__).resolve().parent.parent
RUNS, METHODS, DATA = "tests/benchmark/runs", "tests/methods", "tests/data"
TARGETS = {  # sources, then the tests that should notice a change in them
    "simulation": ("benchmark/simulation", ["tests/benchmark/simulation"]),
    "execute": (
        "benchmark/runs/execute.py",
        [f"{RUNS}/test_{part}.py" for part in ("execute_setup", "execute", "checkpoint")],
    ),
    "partitions": ("data/partitions", [f"{DATA}/partitions", f"{DATA}/test_federation.py"]),
    "statistics": ("results/statistics", ["tests/results/statistics"]),
    "pep-fedpt": ("methods/pep_fedpt.py", [f"{METHODS}/test_pep_fedpt{part}.py" for part in ("", "_logs", "_traffic")]),
}
SWAPPED: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.FloorDiv],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}
OPPOSITE = {"min": "max", "any": "all", "argmin": "argmax", "minimum": "maximum", "floor": "ceil", "mean": "sum"}
OPPOSITE |= {"zeros": "ones", "zeros_like": "ones_like"}
OPPOSITE |= {opposite: name for name, opposite in OPPOSITE.items()}
IMPORTED = """
import importlib.util, pathlib, sys
found = [pathlib.Path(importlib.util.find_spec(name).origin).resolve() for name in sys.argv[1::2]]
sys.exit(found != [pathlib.Path(file) for file in sys.argv[2::2]])
"""
BUILT_IN = ("min", "max", "any", "all")
NOT_MUTATED = (ast.JoinedStr, ast.Import, ast.ImportFrom, ast.match_case)
FIELDS_NOT_MUTATED = ("annotation", "returns", "decorator_list", "bases")


class Mutant(NamedTuple):
    """One change of a source: the bytes from `start` to `stop` become `new`."""

    line: int
    start: int
    stop: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{' '.join(self.old.split())}  ->  {' '.join(self.new.split())}"

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.stop :]


def mutants(source: bytes) -> list[Mutant]:
    """All single changes of a module that still compile, in the order of its lines."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = set()
    for node in _code(ast.parse(source)):
        for changed, new in _replacements(node):
            start = starts[changed.lineno - 1] + changed.col_offset
            stop = starts[(changed.end_lineno or 0) - 1] + (changed.end_col_offset or 0)
            text = f"({new})" if isinstance(changed, ast.expr) else new
            mutant = Mutant(changed.lineno, start, stop, source[start:stop].decode(), text)
            if _compiles(mutant.applied(source)):
                found.add(mutant)
    return sorted(found)


def _code(node: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """The statements and expressions below a node, without annotations, imports, decorators, messages and f-strings."""
    if isinstance(node, ast.Raise):
        return
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if name in FIELDS_NOT_MUTATED or isinstance(child, NOT_MUTATED) or not isinstance(child, ast.AST):
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.stmt | ast.expr):
                yield child
            yield from _code(child)


def _replacements(node: ast.expr | ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Pairs of a node, this one or its condition, and a text that may stand in its place."""
    match node:
        case ast.Compare(ops=[operator, *others]):
            for other in SWAPPED[type(operator)]:
                yield node, _changed(node, ops=[other(), *others])
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) | ast.AugAssign(op=operator):
            for other in SWAPPED.get(type(operator), []):
                yield node, _changed(node, op=other())
        case ast.Constant(value=bool() as value):
            yield node, str(not value)
        case ast.Constant(value=int() | float() as value):
            yield node, str(value + 1)
        case ast.UnaryOp(operand=operand):
            yield node, ast.unparse(operand)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield test, ast.unparse(ast.UnaryOp(ast.Not(), test))
        case ast.Call(func=function, args=arguments, keywords=keywords):
            if len(arguments) > 1:
                yield node, _changed(node, args=[arguments[1], arguments[0], *arguments[2:]])
            for place in range(len(keywords)):
                yield node, _changed(node, keywords=keywords[:place] + keywords[place + 1 :])
            if isinstance(function, ast.Name) and function.id in BUILT_IN:
                yield function, OPPOSITE[function.id]
            elif isinstance(function, ast.Attribute) and function.attr in OPPOSITE:
                yield function, f"{ast.unparse(function.value)}.{OPPOSITE[function.attr]}"
        case ast.Return(value=ast.expr()):
            yield node, "return None"
        case ast.Continue() | ast.Break():
            yield node, "break" if isinstance(node, ast.Continue) else "continue"
    match node:  # statements that can be left out without an undefined name
        case (
            ast.Expr(value=ast.Call())
            | ast.Raise()
            | ast.AugAssign()
            | ast.Assign(targets=[ast.Attribute() | ast.Subscript()])
        ):
            yield node, "pass"


def _changed(node: ast.AST, **fields: object) -> str:
    whole = {name: getattr(node, name) for name in node._fields} | fields
    return ast.unparse(type(node)(**whole))


def _compiles(source: bytes) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def copied(folder: Path) -> Path:
    """Copies the packages and tests into a folder, with the links of `tools/link_packages.py`."""
    ignored = shutil.ignore_patterns("__pycache__", "published")
    for name in (*PACKAGES, "tests", "tools"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.cfg"):
        shutil.copy(ROOT / name, folder)
    link(folder)
    return folder


def run(root: Path, words: Sequence[str], limit: float | None = None) -> int | None:
    """The exit code of `python WORDS...` in a folder whose packages come first; None if it took longer than `limit`."""
    places = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Without compiled files: a mutant of the same size and second as the one before would not be compiled again.
    environment = os.environ | {"PYTHONPATH": places, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # plug-ins take longer to import than many tests to run
    quiet, command = subprocess.DEVNULL, [sys.executable, *words]
    process = subprocess.Popen(command, cwd=root, env=environment, start_new_session=True, stdout=quiet, stderr=quiet)
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # also the processes that it has started
        process.wait()


def survey(root: Path, files: Sequence[Path], tests: Sequence[str], sample: int, seed: int) -> list[str]:
    """Runs the tests on a sample of the mutants of files below `root`; prints the outcomes, returns the survivors."""
    pytest = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "xdist.plugin", "-n", "0"]
    started = time.monotonic()
    if run(root, [*pytest, *tests]) != 0:
        raise SystemExit("the tests fail without a mutation: repair them first")
    limit = 10 + 3 * (time.monotonic() - started)
    everything = [(file, mutant) for file in files for mutant in mutants(file.read_bytes())]
    drawn = random.Random(seed).sample(everything, min(sample, len(everything)))
    counts, survivors = {"killed": 0, "survived": 0, "timed out": 0}, []
    for file, mutant in drawn:
        source = file.read_bytes()
        own = [str(path) for name in tests for path in (root / name).glob(f"**/test_{file.name}")]  # likely to fail
        file.write_bytes(mutant.applied(source))
        try:
            code = run(root, [*pytest, *own, *tests], limit)
        finally:
            file.write_bytes(source)
        outcome = "timed out" if code is None else "killed" if code else "survived"
        counts[outcome] += 1
        place = f"{file.relative_to(root)}:{mutant.line}: {mutant}"
        survivors += [place] * (outcome == "survived")
        print(f"{outcome:9}  {place}", flush=True)
    print(", ".join(f"{count} {name}" for name, count in counts.items()), f"of {len(everything)} possible mutants")
    return survivors


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--sample", type=int, default=20, help="number of mutants (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample (default 0)")
    chosen = parser.parse_args(arguments)
    sources, tests = TARGETS[chosen.target]
    with tempfile.TemporaryDirectory() as folder:
        root = copied(Path(folder).resolve())
        files = [root / sources] if sources.endswith(".py") else sorted((root / sources).rglob("*.py"))
        modules = [".".join(("fedprompt", *file.relative_to(root).with_suffix("").parts)) for file in files]
        names = [name.removesuffix(".__init__") for name in modules]
        if run(root, ["-c", IMPORTED, *(str(word) for pair in zip(names, files, strict=True) for word in pair)]):
            raise SystemExit(f"{sources} is not imported from the copy: install the repository in editable mode")
        survivors = survey(root, files, tests, chosen.sample, chosen.seed)
    print("\n".join(["", "Survivors:", *survivors]) if survivors else "no survivors")


if __name__ == "__main__":
    main()
