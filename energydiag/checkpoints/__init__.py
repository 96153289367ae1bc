"""Energy-head weights, read safely."""

from energydiag.checkpoints.read import TensorSet, Weights, read_weights

__all__ = ["TensorSet", "Weights", "read_weights"]
