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

    shared = [row for row in curves if "process" in row["name"]]
    figure, panels = pyplot.subplots(1, 3 if shared else 2, figsize=(13 if shared else 9, 4), layout="constrained")
    time, memory = panels[:2]
    for axes, what, unit in ((time, "time", "s"), (memory, "memory", "MiB")):
        for row in curves:
            if f"exponent of {what} in" in row["name"]:
                first = row["points"][0][0]
                label = f"{row['name'].rsplit(' ', 1)[-1]}: exponent {row['ratio']:.2f}"
                axes.plot([x / first for x, _ in row["points"]], [y for _, y in row["points"]], "o-", label=label)
        axes.set(xscale="log", yscale="log", xlabel="times the smallest", ylabel=unit, title=f"inspection, {what}")
        axes.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    for row in shared:
        xs, ys = zip(*row["points"], strict=True)
        panels[2].plot(xs, ys, "o-", label=row["name"].split(",")[0])
    if shared:
        most = max(row["points"][-1][0] for row in shared)
        panels[2].plot([1, most], [1, most], ":", color="grey", label="as many times as fast")
        panels[2].set(xlabel="processes", ylabel="times as fast", title="processes", xticks=range(1, int(most) + 1))
    for axes in panels:
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
        axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return True
