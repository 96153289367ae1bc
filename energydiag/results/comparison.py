"""What ``compare`` found: two or more runs, or checkpoints, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

from energydiag.metrics import Better
from energydiag.results.changes import UNDECIDED, Change, MetricChange, of_side
from energydiag.results.diagnosis import Skipped
from energydiag.results.result import Result

if TYPE_CHECKING:
    import pandas

Subject = Literal["runs", "checkpoints"]


@dataclass(frozen=True)
class Side:
    """One of those that are compared.

    Attributes:
        name: What it is called in tables.
        paths: The file it was read from; several where runs are grouped, one for each seed.
        facts: What is known of it (format, head, temperature, steps, hash, …), as text.
    """

    name: str
    paths: tuple[str, ...]
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    """All sides in the order of one number, the best first.

    Attributes:
        name: Of the metric.
        at: Where in the run it was taken.
        better: Which direction is good.
        values: By side, the best first.
    """

    name: str
    at: str
    better: Better
    values: Mapping[str, float]


@dataclass(frozen=True)
class Difference:
    """A setting in which sides differ: by side, empty where a side does not tell it."""

    name: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Band:
    """A line with what lies around it, for a figure.

    Attributes:
        name: Of the metric.
        side: Whose it is.
        x: Steps.
        y: The middle.
        low: As long; lower edge.
        high: As long; upper edge.
    """

    name: str
    side: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Limit:
    """A regression that was allowed, and whether it was kept to.

    Attributes:
        metric: Its name.
        allowed: As it was asked for: ``5%`` of the first side's value, or a number.
        side: Which side was held to it.
        worse_by: By how much it is worse than the first side, in the metric's unit; below 0 where it is better.
        verdict: ``"kept"`` where the whole interval is within it, ``"broken"`` where it is worse by more and beyond
            chance, else ``"unclear"``.
    """

    metric: str
    allowed: str
    side: str
    worse_by: float
    verdict: Literal["kept", "broken", "unclear"]


@dataclass(frozen=True)
class Outcome:
    """What became of one side against the first.

    Attributes:
        side: Which one.
        verdict: Over all its rows where the verdict was taken, and of the state of both sides.
        reason: What decided it, or leaves it open, beside the rows: a broken run never wins, whatever its numbers are.
    """

    side: str
    verdict: Change
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparison(Result):
    """Two or more sides; each is compared with the first.

    Attributes:
        verdict: Of the worst of the other sides: regressed if one is, else mixed, improved, inconclusive, unchanged.
        subject: What the sides are.
        at: Where in the runs the verdict was taken; empty for checkpoints.
        sides: The first is what the others are compared with.
        metrics: A row for each metric, each place in the run and each other side; the two sides are in its values.
        rankings: All sides in order, for each metric with a direction.
        differences: Settings apart from the metrics.
        bands: Curves for figures.
        limits: What ``--max-regression`` asked for.
        skipped: What could not be compared, and why.
        notes: What the reader should know.
        outcomes: What became of each other side; empty in results of older versions.
    """

    verdict: Change
    subject: Subject
    at: str
    sides: tuple[Side, ...]
    metrics: tuple[MetricChange, ...]
    rankings: tuple[Ranking, ...] = ()
    differences: tuple[Difference, ...] = ()
    bands: tuple[Band, ...] = ()
    limits: tuple[Limit, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    kind = "comparison"

    def outcome(self, side: str) -> Outcome:
        """What became of a side; from its rows, where an older version did not say."""
        told = next((one for one in self.outcomes if one.side == side), None)
        return told or Outcome(side, of_side(m for m in self.judged if m.side == side))

    @property
    def undecided(self) -> tuple[str, ...]:
        """The sides of which it is not known whether they are as good as the first."""
        return tuple(side.name for side in self.sides[1:] if self.outcome(side.name).verdict in UNDECIDED)

    def metric(self, name: str, side: str | None = None) -> MetricChange | None:
        """The change of a metric where the verdict was taken, of the named side or else of the first that has it."""
        return next(
            (m for m in self.judged if m.name == name and (side is None or m.side == side)),
            None,
        )

    @property
    def judged(self) -> tuple[MetricChange, ...]:
        """The rows that the verdict rests on."""
        return tuple(m for m in self.metrics if m.at == self.at)

    def to_frame(self) -> pandas.DataFrame:
        """The changes as a table, one row each."""
        import pandas

        rows = [
            {
                **{key: value for key, value in asdict(m).items() if key not in ("values", "ci95")},
                "first": next(iter(m.values.values())),
                "second": list(m.values.values())[-1],
                "ci95_low": m.ci95 and m.ci95[0],
                "ci95_high": m.ci95 and m.ci95[1],
            }
            for m in self.metrics
        ]
        frame: pandas.DataFrame = pandas.DataFrame(rows)
        return frame
