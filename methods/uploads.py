"""What leaves a client: the kind of every tensor that it uploads, which says what the tensor tells about its data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

KINDS = {
    "parameters": "trained tensors; they depend on every training sample of the client",
    "optimiser tensors": "what an optimiser sends beside the parameters, such as SCAFFOLD's mean gradients",
    "class ids": "which classes the client has, because only the rows of these classes travel",
    "class counts": "training samples per class: the client's label distribution",
    "class sums": "features summed per class; divided by the class counts they are class prototypes",
    "sample counts": "training samples, or training samples per prompt or group of prompts",
    "feature sums": "features summed, or averaged, over all training samples of the client",
    "second moments": "sums of squares or of outer products of features",
    "undeclared": "tensors whose method does not say what they are",
}
"""Kinds of uploads, and what each of them tells."""
UNDECLARED = "undeclared"
BY_NAME = {"sum": ("class sums", "feature sums"), "count": ("class counts", "sample counts")}
"""Names that say what a tensor is, with one row per class and without."""
SECOND_MOMENTS = ("second", "square", "gram")


def kinds(
    names: Collection[str],
    shared: Collection[str] = (),
    class_rows: Collection[str] = (),
    declared: Mapping[str, str] | None = None,
) -> dict[str, list[str]]:
    """Sorts the tensors that a client uploads by kind.

    Args:
        names: Names of the tensors. Those of optimisers begin with `OPTIMISER.`, those of options with `head_init.` or
            `standardize.`.
        shared: Names of the method's shared tensors.
        class_rows: Names of the tensors with one row per class of the client.
        declared: The method's `upload_kinds`.

    Returns:
        Names by kind, in the order of `KINDS`; kinds without a tensor are absent.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        found.setdefault(_kind(name, shared, class_rows, declared or {}), []).append(name)
    if by_class := sorted(name for name in names if _by_class(name, class_rows)):
        found["class ids"] = by_class
    return {kind: found[kind] for kind in KINDS if kind in found}


def _kind(name: str, shared: Collection[str], class_rows: Collection[str], declared: Mapping[str, str]) -> str:
    if name in shared:
        return "parameters"
    for pattern, kind in declared.items():
        if fnmatchcase(name, pattern):
            return kind
    if name.partition(".")[2] in shared:
        return "optimiser tensors"
    word = name.rpartition(".")[2]
    if word in BY_NAME:
        of_class, of_client = BY_NAME[word]
        return of_class if _by_class(name, class_rows) else of_client
    return "second moments" if word in SECOND_MOMENTS else UNDECLARED


def _by_class(name: str, class_rows: Collection[str]) -> bool:
    """Whether a tensor has one row per class; the sums per class for an initial head are those of another method."""
    return name in class_rows or name in ("head_init.sum", "head_init.count")
