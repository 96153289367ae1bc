"""Energy-head weights, read safely."""

from energydiag.checkpoints.read import Weights, read_weights

__all__ = ["Weights", "read_weights"]
