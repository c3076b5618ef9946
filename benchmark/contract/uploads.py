"""What the clients of each registered method upload, by kind: found on the toy federation, and kept in a table.

The table saves `bench list methods` from training. `python -m fedprompt.benchmark.contract.uploads` writes it; a test
compares it with what travels in a run.
"""

import json
from functools import cache
from pathlib import Path

from fedprompt.methods import registry, uploads

TABLE = Path(__file__).with_name("uploads.json")
Kinds = dict[str, list[str]]
"""Names of uploaded tensors by kind; see `methods.uploads`."""
CARRIER = "fedvpt"
"""The method whose own uploads are subtracted to find those of an optimiser."""


def of(name: str) -> Kinds:
    """Returns what a method, a variant or an optimiser (`+NAME`) uploads; from the table, if it is there."""
    return _table()[name] if name in _table() else found(name)


def found(name: str) -> Kinds:
    """Returns what one client of the toy federation uploads: its statistics before round 1, and its first update."""
    if name.startswith("+"):
        alone, together = found(CARRIER), found(CARRIER + name)
        return {kind: names for kind, names in together.items() if names != alone.get(kind)}
    from fedprompt.benchmark.contract import toy
    from fedprompt.benchmark.simulation.local_training import collect_statistics
    from fedprompt.benchmark.simulation.tasks import LocalTraining

    recipe, training = registry.create(name), LocalTraining(epochs=1, batch_size=32, lr=0.01)
    simulator = toy.simulator(recipe, toy.vit(), rounds=1, training=training)
    context, tasks, sent_names = simulator.context, simulator.make_tasks([0], 1), set[str]()
    if recipe.method.initial_statistics:
        sent_names |= collect_statistics(recipe, context.vit, context.train, tasks)[0].keys()
    if context.trains:
        (update,) = simulator.executor.train(recipe, context.vit, context.train, tasks, training)
        sent_names |= {tensor for state in update.uploads for tensor in state}
    return uploads.kinds(sent_names, simulator.state.server.shared, recipe.class_rows, recipe.method.upload_kinds)


def registered() -> list[str]:
    """Returns all registered methods, their variants, and the optimisers and losses as `+NAME`."""
    registry.discover()
    variants = [f"{name}:{variant}" for name, cls in registry.METHODS.items() for variant in cls.variants]
    return sorted([*registry.METHODS, *variants, *(f"+{name}" for name in registry.OPTIMISERS)])


@cache
def _table() -> dict[str, Kinds]:
    table: dict[str, Kinds] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


if __name__ == "__main__":
    TABLE.write_text(json.dumps({name: found(name) for name in registered()}, indent=1) + "\n", encoding="utf-8")
