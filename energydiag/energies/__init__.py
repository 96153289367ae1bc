"""Energies and gradients of many candidate actions per context, without repeating the context's work."""

from energydiag.energies.pairs import PairTable, map_pairs
from energydiag.energies.pairwise import pairwise_energies

__all__ = ["PairTable", "map_pairs", "pairwise_energies"]
