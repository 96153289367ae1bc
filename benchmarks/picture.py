"""docs/scaling.png: how an inspection grows, and what a second process brings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

Plain = dict[str, Any]
"""A row as `Row.plain` gives it."""


def draw(rows: Sequence[Plain], path: Path) -> bool:
    """Writes the picture; False where no row has a curve.

    Args:
        rows: Of all families.
        path: Where.
    """
    curves = [row for row in rows if row["points"]]
    if not curves:
        return False
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (time, memory, processes) = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for axes, what, unit in ((time, "time", "s"), (memory, "memory", "MiB")):
        for row in curves:
            if f"exponent of {what} in" in row["name"]:
                first = row["points"][0][0]
                label = f"{row['name'].rsplit(' ', 1)[-1]}: exponent {row['ratio']:.2f}"
                axes.plot([x / first for x, _ in row["points"]], [y for _, y in row["points"]], "o-", label=label)
        axes.set(xscale="log", yscale="log", xlabel="times the smallest", ylabel=unit, title=f"inspection, {what}")
        axes.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    for row in curves:
        if "process" in row["name"]:
            xs, ys = zip(*row["points"], strict=True)
            processes.plot(xs, ys, "o-", label=row["name"].split(",")[0])
    most = max((row["points"][-1][0] for row in curves if "process" in row["name"]), default=2.0)
    processes.plot([1, most], [1, most], ":", color="grey", label="as many times as fast")
    processes.set(xlabel="processes", ylabel="times as fast", title="processes", xticks=range(1, int(most) + 1))
    for axes in (time, memory, processes):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
        axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True
