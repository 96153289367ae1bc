"""Where negative actions come from: one file a source, used by probes and by training alike."""

from energydiag.negatives.source import NegativeSource, sources

__all__ = ["NegativeSource", "sources"]
