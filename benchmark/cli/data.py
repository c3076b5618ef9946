"""`bench data`: download and check data sets, and show how a partition distributes them over clients."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from fedprompt.benchmark.cli.common_options import Json
from fedprompt.benchmark.cli.grid_options import grid_options
from fedprompt.benchmark.cli.help import GroupedCommand
from fedprompt.benchmark.config.options import Options
from fedprompt.benchmark.config.partition_options import PartitionOptions
from fedprompt.benchmark.errors import ConfigError

FAULTY = 2
SHOWN = 40  # clients in the table; the figure shows more

OF_FEDERATIONS = (
    *PartitionOptions.model_fields,
    *("alpha", "seeds", "data_root", "skip_corrupt", "backbone", "image_size", "normalize"),
)
"""The options of a grid that affect what `bench data show` shows."""

data = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
Name = Annotated[str, typer.Argument(metavar="NAME", help="a data set, named as in `bench data list`")]
Root = Annotated[Path | None, typer.Option(help="folder of the data sets [default: $BENCH_DATA or datasets]")]


@data.command("list")
def list_(data_root: Root = None, as_json: Json = False) -> None:
    """List the data sets: size, terms of use, classes, domains, clients, and whether they are installed."""
    from fedprompt.data import registry

    rows = []
    for entry in registry.entries():
        source = None if ":" in entry.name else registry.source(entry.name, data_root)
        absent = [archive.file for archive in source.absent()] if source else []
        rows.append({**dataclasses.asdict(entry), "present": not absent if source else None, "absent": absent})
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        state = {True: "present", False: "absent", None: ""}[row["present"]]
        print(f"{row['name']:<22} {state:<8} {_facts(row)}")
        print(f"{'':<31} {row['description']}" + (f"; {row['terms']}" if row["terms"] else ""))


def _facts(row: dict[str, Any]) -> str:
    counts = [f"{row[what]:,} {what}" for what in ("classes", "domains", "clients") if row[what]]
    images = [f"{row['train']:,} / {row['test']:,} images"] if row["train"] else []
    size = row["bytes"]
    volume = [f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"] if size else []
    return ", ".join([*counts, *images, *volume])


@data.command("prepare")
def prepare(
    name: Name,
    given: Annotated[
        list[Path] | None, typer.Option("--from", metavar="FILE", help="a downloaded archive, or a folder of archives")
    ] = None,
    data_root: Root = None,
) -> int:
    """Unpack a data set from --from, from the data root, or from a download, which resumes if interrupted."""
    from fedprompt.data.datasets import prepare as datasets

    verdict = datasets.prepare(name, data_root, given or ())
    _report(verdict)
    return FAULTY if verdict.faults else 0


@data.command("verify")
def verify(name: Name, data_root: Root = None, as_json: Json = False) -> int:
    """Read every byte and decode every image: print counts, checksum and unreadable images."""
    from fedprompt.data.datasets import prepare as datasets

    verdict = datasets.verify(name, data_root)
    if as_json:
        print(json.dumps(dataclasses.asdict(verdict), indent=1))
    else:
        _report(verdict)
    return FAULTY if verdict.faults or verdict.differs else 0


def _report(verdict: Any) -> None:
    print(f"{verdict.name}: {verdict.train:,} training and {verdict.test:,} test images, {verdict.classes:,} classes")
    if verdict.domains or verdict.clients:
        print(f"{verdict.domains} domains, {verdict.clients:,} natural clients")
    for note in verdict.notes:
        print(f"note: {note}")
    print(f"checksum {verdict.checksum}")
    for difference in verdict.differs:
        print(f"differs: {difference}", file=sys.stderr)
    for fault in verdict.faults:
        print(f"fault: {fault}", file=sys.stderr)
    if verdict.unreadable:
        print(f"error: {len(verdict.unreadable)} unreadable images; --skip-corrupt leaves them out", file=sys.stderr)


@data.command("show", cls=GroupedCommand)
@partial(grid_options, fields=OF_FEDERATIONS)
def show(
    chosen: Options,
    name: Name,
    figure: Annotated[
        Path | None, typer.Option("--out", help="file of the figure [default: NAME-PARTITION.png]")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="also save the federation as JSON, for --partition-file")] = None,
) -> None:
    """Show how a partition distributes a data set over clients: a table, the rules of the images, and a figure.

    Takes one --alpha and one seed.
    """
    from fedprompt.benchmark.backbone.preprocessing import described, planned_rules
    from fedprompt.benchmark.planning.federation_plots import draw
    from fedprompt.benchmark.runs import execute as runner
    from fedprompt.data.errors import DataError, reason

    if len(chosen.alpha or ()) > 1:
        raise ConfigError("bench data show draws one federation: name one --alpha.")
    one = chosen.model_copy(update={"datasets": (name,), "methods": ("head",), "set": (), "seeds": chosen.seeds[:1]})
    (config,) = one.grid()
    federation = runner.federation(config)
    dataset = runner.dataset(config)  # with --skip-corrupt, the positions differ from those of the full data set
    if save is not None:
        try:
            federation.save(save)
        except OSError as error:
            raise ConfigError(f"--save {save} cannot be written: {reason(error)}; name another file.") from error
    path = figure or Path(f"{name}-{federation.settings.label}.png".replace("/", "_").replace(" ", ""))
    try:
        draw(federation, dataset, path)
    except DataError as error:  # names only unreadable images that the figure shows
        raise ConfigError(
            f"{error}\n`bench data verify {name}` lists all unreadable images, --skip-corrupt leaves them out"
        ) from error
    _table(federation)
    print(described(planned_rules(dataset, config.backbone, config.image_size, config.normalize)))
    for note in dataset.notes:
        print(f"note: {note}")
    print(f"figure: {path}", file=sys.stderr)


def _table(federation: Any) -> None:
    from fedprompt.results.tables.federation import description

    counts, tests = federation.counts, federation.test_counts
    sizes, unused = counts.sum(axis=1), federation.unused
    clients = f"{len(sizes):,} clients, {len(federation.held_out)} held out"
    print(f"{federation.dataset}, {federation.settings.label}: {clients}, tested on {federation.test_part} images")
    print(f"training samples per client: {sizes.min():,} to {sizes.max():,}, mean {sizes.mean():,.1f}; ", end="")
    print(f"unassigned: {unused[0]:,} training, {unused[1]:,} test")
    summary, tested = federation.summary(), int(tests.sum())
    untrained = summary["untrained"]
    print(f"test samples of classes without training samples on their client: {untrained:,} of {tested:,}", end="")
    print(f" ({untrained / tested:.1%})" if tested else "")
    print(f"label skew: {description({f'federation_{k}': v for k, v in summary.items()})}")
    print(f"{'client':>6} {'train':>6} {'test':>6} {'classes':>7}  domain")
    for i, client in enumerate(federation.clients[:SHOWN]):
        mark = " held out" if client.held_out else ""
        classes = int((counts[i] > 0).sum())
        print(f"{i:>6} {sizes[i]:>6} {int(tests[i].sum()):>6} {classes:>7}  {client.domain or '-'}{mark}")
    if len(sizes) > SHOWN:
        print(f"... and {len(sizes) - SHOWN:,} more")
