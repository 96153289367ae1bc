"""Intervals, chances, and the one way from the numbers of two sides to a verdict."""

from energydiag.statistics.intervals import FEWEST_GROUPS, RESAMPLES, Estimate, FloatArray, Resampler

__all__ = ["FEWEST_GROUPS", "RESAMPLES", "Estimate", "FloatArray", "Resampler"]
