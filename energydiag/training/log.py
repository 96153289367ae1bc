"""The training log: one row now and then, and the file that holds them."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path

from energydiag.atomic import write_text


@dataclasses.dataclass(frozen=True)
class LogRow:
    """One row of a training log; the field names are its columns.

    Energies, gap, AUROC and top-1 are over the step's own swap table, before the update.

    Attributes:
        step: From 0.
        loss: What was differentiated.
        info_nce: The contrastive part, in nats.
        learning_rate: Of this step.
        tau: Temperature of this step.
        energy_positive: Mean energy of the experts' actions.
        energy_negative: Mean energy of the others' actions; NaN for one context alone.
        gap: Negative minus positive.
        auroc: Share of negatives above their positive, a tie counting half.
        top1: Share of contexts whose positive is lowest, ties broken at random.
        slope_saturated_fraction: Share of raw values with less than a tenth of the head's steepest slope, in eval mode.
        gradient_norm: Over all parameters, before clipping.
        alignment: Mean cosine that the alignment loss saw; NaN without one.
        base_tau: What the temperature was chosen from.
        clip_norm: Largest gradient norm of this step; infinite where nothing is clipped.
        validation_score: After this step's update; NaN where it was not measured.
        seconds: Wall clock since the start, earlier parts of a resumed run included.
    """

    step: int
    loss: float
    info_nce: float
    learning_rate: float
    tau: float
    energy_positive: float
    energy_negative: float
    gap: float
    auroc: float
    top1: float
    slope_saturated_fraction: float
    gradient_norm: float
    alignment: float
    base_tau: float
    clip_norm: float
    validation_score: float
    seconds: float

    def values(self) -> list[float]:
        """In the order of the columns."""
        return [float(getattr(self, column)) for column in COLUMNS]

    @classmethod
    def of_values(cls, values: Iterable[float]) -> LogRow:
        """The opposite of `values`."""
        step, *rest = values
        return cls(int(step), *rest)


COLUMNS = tuple(field.name for field in dataclasses.fields(LogRow))


def write_metrics(path: Path, rows: Iterable[LogRow]) -> None:
    """Writes the log as CSV, whole or not at all.

    Raises:
        UsageError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row.step, *(f"{value:.9g}" for value in row.values()[1:])] for row in rows)
    write_text(path, text.getvalue())
