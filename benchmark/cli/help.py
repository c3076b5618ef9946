"""The help of commands: options in groups, examples and where the documentation is. Plain text, also for pipes."""

from typing import Any

from typer.core import TyperCommand

DOCS = "docs/ of the repository; `mkdocs build` makes a site of it, with a page per command"
COMMON = ("methods", "datasets", "partition", "alpha", "clients", "rounds", "seeds", "preset", "workers", "out")
"""The most used options of a grid, in the order shown."""
GROUPS = {
    "Data": ("data_root", "skip_corrupt", "min_samples"),
    "Federation": (
        *("held_out", "participation", "validation", "min_test", "sizes", "size_sigma", "samples_per_client"),
        *("classes_per_client", "clients_per_domain", "domain", "partition_file"),
    ),
    "Training": (
        *(
            "from_run",
            "epochs",
            "batch_size",
            "optimizer",
            "lr",
            "lr_schedule",
            "momentum",
            "beta1",
            "beta2",
            "eps",
            "weight_decay",
            "clip_norm",
        ),
        *("head_init", "standardize", "personal_epochs", "personal_lr_factor", "prior_smoothing"),
        *("eval_every", "eval_at", "set", "plugin"),
    ),
    "Backbone": ("backbone", "checkpoint", "image_size", "patch_size", "normalize"),
    "Execution": (
        *(
            "device",
            "precision",
            "executor",
            "cpus_per_run",
            "gpus_per_run",
            "local",
            "address",
            "run_timeout",
            "retries",
        ),
        *("max_failures", "checkpoint_every"),
    ),
    "Output": ("keep_model", "tracker", "as_json", "no_progress", "quiet", "verbose"),
}
SELECTION = ("methods", "datasets", "alpha", "metric")
"""The options that choose runs of a directory."""
EXAMPLES = {
    "run": ("bench run --method fedvpt --alpha 0.1", "bench run --method pep-fedpt --backbone vit_base_patch16_224"),
    "sweep": (
        "bench sweep --methods head,fedvpt,pep-fedpt --alpha 0.05,0.5 --seeds 0-4 --out runs/first",
        "bench sweep --preset paper-cifar100 --device cuda --gpus-per-run auto",
    ),
    "tune": (
        "bench tune --methods head,fedvpt --grid lr=0.005,0.01,0.05",
        "bench tune --grid lr=1e-3..1e-1:log --draws 8",
    ),
    "plan": ("bench plan --preset paper-cifar100 --workers 4", "bench plan --detect 2 --out runs/first"),
    "table": ("bench table runs/first --methods 'fed*' --metric seen.mean,held_out.mean --format latex",),
    "figure": (
        "bench figure runs/first pairwise --methods head,fedvpt,pep-fedpt --format pdf --style icml --columns 1",
        "bench figure runs/first differences --reference pep-fedpt --prior --methods pep-fedpt,fedvpt,head",
    ),
    "report": ("bench report runs/first --alpha 0.05",),
    "compare": ("bench compare runs/first pep-fedpt fedvpt --metric 'seen.*' --margin 1",),
    "verify": ("bench verify runs/first --datasets cifar100",),
    "export": ("bench export runs/first exported", "bench export runs/first runs.csv --metric seen.mean,upload_mb"),
    "merge": ("bench merge runs/first runs/second --out runs/all", "bench merge exported --out runs/continued"),
    "prune": ("bench prune runs/first --unfinished", "bench prune runs/first --outside --preset quick --yes"),
    "list": ("bench list methods", "bench list methods pep-fedpt", "bench list methods --long", "bench list metrics"),
}


class GroupedCommand(TyperCommand):
    """A command whose help has its options in groups, the most used ones first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the arguments, then the options by group."""
        for title, parameters in grouped(self, ctx).items():
            with formatter.section(title):
                formatter.write_dl([parameter.get_help_record(ctx) for parameter in parameters])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes examples and the address of the documentation."""
        if examples := EXAMPLES.get(str(self.name), ()):
            with formatter.section("Examples"):
                for example in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        formatter.write(f"\nDocumentation: {DOCS}\n")


def grouped(command: Any, context: Any) -> dict[str, list[Any]]:
    """The parameters of a command that help shows, by the title of their group; groups without any are left out."""
    groups = _groups({parameter.name for parameter in command.params})
    found: dict[str, list[Any]] = {"Arguments": [], **{title: [] for title in groups}, "Options": []}
    titles = {name: title for title, names in groups.items() for name in names}
    for parameter in command.get_params(context):
        if parameter.get_help_record(context):
            argument = parameter.param_type_name == "argument"
            found["Arguments" if argument else titles.get(parameter.name, "Options")].append(parameter)
    for title, names in groups.items():
        found[title].sort(key=lambda parameter: names.index(parameter.name))
    return {title: parameters for title, parameters in found.items() if parameters}


def _groups(names: set[str | None]) -> dict[str, tuple[str, ...]]:
    """The groups of a command with these parameters. One without a grid has few options and needs none."""
    if "preset" in names:
        common = {"Common options": COMMON}
        return common | {title: tuple(n for n in group if n not in COMMON) for title, group in GROUPS.items()}
    return {"Selection": SELECTION} if "metric" in names else {}
