"""Many jobs of one kind: where they run, and where their answers are kept. What a job does is not known here."""

from energydiag.fleet.executor import Done, Executor
from energydiag.fleet.here import Here
from energydiag.fleet.on_ray import OnRay
from energydiag.fleet.processes import Processes, cores
from energydiag.fleet.store import Store

__all__ = ["Done", "Executor", "Here", "OnRay", "Processes", "Store", "cores"]
