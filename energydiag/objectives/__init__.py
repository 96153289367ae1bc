"""What energies are trained with, one objective a file: loss, chance, floor, and which rules apply."""

from energydiag.objectives.inference import Inferred, infer, objective_named, objectives
from energydiag.objectives.infonce import candidates_of, infonce_floor
from energydiag.objectives.objective import Chance, Clues, Objective, Setting
from energydiag.objectives.unknown import UNKNOWN

__all__ = [
    "UNKNOWN",
    "Chance",
    "Clues",
    "Inferred",
    "Objective",
    "Setting",
    "candidates_of",
    "infer",
    "infonce_floor",
    "objective_named",
    "objectives",
]
