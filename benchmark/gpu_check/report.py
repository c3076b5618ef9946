"""The results of the checks as a short table and as a picture of the speeds."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fedprompt.data.files.atomic import atomic_write

WORDS = {True: "ok", False: "FAULT", None: "-"}
KINDS = ("fused", "sequential")


def passed(checks: Mapping[str, Any]) -> bool:
    """Returns whether all checks came to their end and no answer is a fault."""
    answers = [answer for check in checks.values() for answer in check["report"].get("answers", ())]
    return all(check["status"] == "done" for check in checks.values()) and all(a["ok"] is not False for a in answers)


def table(checks: Mapping[str, Any]) -> str:
    """Returns a line per answer, and one per check that did not come to its end."""
    rows = []
    for name, check in checks.items():
        for answer in check["report"].get("answers", ()):
            wanted = f"  (wanted: {answer['wanted']})" if answer["wanted"] else ""
            rows.append((WORDS[answer["ok"]], name, f"{answer['question']}: {answer['measured']}{wanted}"))
        if check["status"] != "done":
            rows.append(("FAULT", name, f"{check['status']}: {check['error']}"))
    return "\n".join(f"{word:<6} {name:<15} {text}" for word, name, text in rows)


def draw(checks: Mapping[str, Any], path: Path) -> bool:
    """Writes the speeds by batch and cohort size, a panel per backbone; returns False if none was measured."""
    from matplotlib import rc_context

    from fedprompt.results.figures.style import RC

    measured = [check["report"].get("data", {}).get("throughput") for check in checks.values()]
    speeds = [speed for speed in measured if speed and speed["cells"]]
    if not speeds:
        return False
    from matplotlib.figure import Figure

    with rc_context(RC):
        figure = Figure(figsize=(2.6 * len(speeds) + 1.2, 2.8), layout="constrained")
        axes = figure.subplots(1, len(speeds), squeeze=False)[0]
        for axis, speed in zip(axes, speeds, strict=True):
            _panel(axis, speed)
        axes[0].set_ylabel("training images per second")
        axes[-1].legend(loc="upper left", bbox_to_anchor=(1, 1))
        atomic_write(path, partial(figure.savefig, format="png"))
    return True


def _panel(axis: Any, speed: Mapping[str, Any]) -> None:
    from fedprompt.results.figures.method_styles import COLOURS, MARKERS

    batches = sorted(int(batch) for batch in speed["bare"])
    axis.plot(batches, [speed["bare"][str(b)] for b in batches], color="grey", linestyle=":", label="bare loop")
    cohorts = sorted({cell["cohort"] for cell in speed["cells"]})
    for place, cohort in enumerate(cohorts):
        for kind, line in zip(KINDS, ("-", "--"), strict=True):
            cells = [cell for cell in speed["cells"] if (cell["kind"], cell["cohort"]) == (kind, cohort)]
            look = {"color": COLOURS[place], "marker": MARKERS[place], "linestyle": line}
            axis.plot(
                [c["batch"] for c in cells], [c["rate"] for c in cells], label=f"{kind}, {cohort} clients", **look
            )
    axis.set_xscale("log", base=2)
    axis.set_xticks(batches, list(map(str, batches)))
    axis.set_xlabel("local batch size")
    axis.set_title(f"{speed['backbone']}, {speed['precision']}")
