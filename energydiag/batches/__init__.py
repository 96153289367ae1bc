"""Batch dumps: read and checked."""

from energydiag.batches.read import LoadedBatch, load_batch, read_batch

__all__ = ["LoadedBatch", "load_batch", "read_batch"]
