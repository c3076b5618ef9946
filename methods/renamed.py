"""Names that plug-ins for version 0.1 still use, and the errors that give their new names."""

import dataclasses
import re
from importlib.util import find_spec
from traceback import extract_tb

from fedprompt.methods.errors import MethodError

PACKAGES = ("benchmark", "data", "methods", "results")
"""Top-level packages of version 0.1, now sub-packages of `fedprompt`."""
MODULES = {
    "ccmp": "prompt_mixing",
    "closed_form": "closed_form_head",
    "matching": "prompt_matching",
    "personal": "personal_model",
    "rates": "server_rates",
}
NAMES = {"setting": "hyperparameter", "Visit": "ClientContext"}
HOOKS = {
    "absorb": "transform_statistics",
    "adapts": "adapted",
    "directions": "adjust_gradients",
    "fold": "apply_statistics",
    "keeps": "personal_copies",
    "rehearse": "validation_statistics",
    "remade": "rebuilt",
    "remember": "datastore",
    "settle": "after_batch",
    "unfused": "not_fusible",
    "unplugged": "refuses_optimisers",
}


def explain(error: ImportError) -> str:
    """The new place of what a plug-in tried to import by an old name; empty for any other import error."""
    wanted = error.name or ""
    statement = re.match(r"(?:from|import)\s+([\w.]+)", extract_tb(error.__traceback__)[-1].line or "")
    if statement and statement[1].startswith(f"{wanted}."):
        wanted = statement[1]  # `error.name` is the first part that is missing
    package, _, module = wanted.removeprefix("fedprompt.").partition(".")
    name = re.search(r"cannot import name '(\w+)'", error.msg)
    if wanted.startswith("fedprompt.") and name:
        return f"imports {name[1]!r}, which is now {NAMES[name[1]]!r}." if name[1] in NAMES else ""
    if package not in PACKAGES:
        return ""
    if package == "methods" and module in ("", "base", "errors", "optimiser", "registry"):
        new = "write `from fedprompt.methods import Method, register`"
        return f"imports {wanted!r}, which is now 'fedprompt.methods': {new}."
    for folder in ("", ".components", ".optimisers"):
        new = f"fedprompt.methods{folder}.{MODULES.get(module, module)}"
        if package == "methods" and "." not in module and find_spec(new):
            return f"imports {wanted!r}, which is now {new!r}."
    if wanted.startswith("fedprompt."):
        return ""
    return f"imports {wanted!r}, but the package {package!r} is now 'fedprompt.{package}'."


def refuse_old_hooks(cls: type) -> None:
    """Raises `MethodError` if a class defines a hook by its old name, which would have no effect."""
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for old in sorted(HOOKS.keys() & vars(cls).keys() - fields):
        raise MethodError(f"{cls.__name__}.{old} has no effect: it is now called {HOOKS[old]!r}.")
