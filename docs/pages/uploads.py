"""Generates the page on what leaves the client: the kinds of uploads of every method."""

from docs.pages.page import Page, definitions, sections, table
from fedprompt.benchmark.contract import uploads
from fedprompt.methods import registry
from fedprompt.methods.optimiser import LossPlugin
from fedprompt.methods.uploads import KINDS, UNDECLARED

OF_THE_PROTOCOL = (
    ("every round of a method that trains", "sample counts", "the weight of the client's update in the average"),
    ("`--standardize features`", "sample counts, feature sums, second moments", "once; squares, per feature"),
    ("`--standardize whiten`", "sample counts, feature sums, second moments", "once; all pairs of features"),
    ("`--head-init ncm`", "class ids, class counts, class sums", "once; as `fedncm`"),
    ("`--head-init ridge`", "class ids, class sums, second moments", "once; as `fed3r:no-bias`"),
    (
        "prior correction",
        "calibration sums",
        "after the last round: the loss on the client's samples at 57 temperatures",
    ),
    ("`held_out_bbse`", "confusion counts", "after the last round: predicted by true classes on the client's samples"),
    ("`--validation`", "validation sums", "samples and correct predictions on the client's validation samples"),
)
"""What the harness itself needs from clients: when, which kinds, and the details."""


def page() -> Page:
    """The page with one table of kinds per method."""
    text = sections(
        "# What leaves the client",
        "No method sends images, but what it sends can still tell something about them. This page lists the kinds of "
        "tensors that a client uploads, for every method and its variants. The table is not written by hand: it is "
        "what a client of a small federation sends, and a test compares it with whole runs. The names of the tensors "
        "are in `bench list methods --json`, those of a run with their shapes in its `result.json` (`uploads`, "
        "`travelling`).",
        "The harness measures accuracy and cost, not privacy: no upload is encrypted, aggregated securely or made "
        "differentially private. Secure aggregation could hide a client's part of sums that the server only adds up. "
        "It could not hide class ids, because rows of absent classes do not travel, nor what the server uses client "
        "by client, such as the class sums of `fedcof` and `fedpac`, the prompts of `pfpt`, `pfedpg` and `fedmgp`, "
        "and the LoRAs of `fedalt` and `flexlora`.",
        "## Kinds",
        definitions((kind, f"{meaning}.") for kind, meaning in KINDS.items() if kind != UNDECLARED),
        "## Methods",
        table(("method", *_short()), _rows()),
        "A variant has a row of its own only where it sends other kinds than its method.",
        "## Optimisers and losses",
        _plugins(),
        "## The protocol",
        "Options of the protocol act on every method. The last three rows are needed for scores, not for training; a "
        "deployment without them would not send them. `calibration_bytes` in a record counts the first of the three.",
        table(("when", "kinds", "details"), OF_THE_PROTOCOL),
    )
    return Page("methods/uploads.md", "What leaves the client", text)


def _short() -> list[str]:
    return [kind for kind in KINDS if kind not in (UNDECLARED, "optimiser tensors")]


def _rows() -> list[tuple[str, ...]]:
    """One row of marks per method, and per variant that sends other kinds than its method."""
    registry.discover()
    rows = []
    for name, cls in sorted(registry.METHODS.items()):
        usual = list(uploads.of(name))
        variants = {f"{name}:{variant}": list(uploads.of(f"{name}:{variant}")) for variant in cls.variants}
        shown = {name: usual, **{variant: kinds for variant, kinds in variants.items() if kinds != usual}}
        rows += [(f"[`{full}`]({name}.md)", *_marks(kinds)) for full, kinds in shown.items()]
    return rows


def _marks(kinds: list[str]) -> list[str]:
    return ["yes" if kind in kinds else "" for kind in _short()]


def _plugins() -> str:
    """Which plug-ins send something beside the method's own tensors."""
    sending = [name for name in sorted(registry.OPTIMISERS) if uploads.of(f"+{name}")]
    kept = [name for name, cls in sorted(registry.OPTIMISERS.items()) if name not in sending]
    losses = [name for name in kept if issubclass(registry.OPTIMISERS[name], LossPlugin)]
    names = [name for name in kept if name not in losses]
    return (
        f"Optimiser tensors are sent by {_listed(sending)}: one for each shared tensor that trains. Nothing is added "
        f"by {_listed(names)}, and by the losses {_listed(losses)}."
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f"`+{name}`" for name in names) or "no plug-in"
