"""What is changed: one file a fix, from a finding to an edit of the training plan."""

from energydiag.fixes.fix import Fix, Patient, Refusal, fixes
from energydiag.fixes.planning import Planned, plan_from

__all__ = ["Fix", "Patient", "Planned", "Refusal", "fixes", "plan_from"]
