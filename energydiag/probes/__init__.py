"""What is measured: one file a probe, from evidence that all probes share to measurements."""

from energydiag.probes.data import measure_data
from energydiag.probes.evidence import Evidence, MeasuringSettings
from energydiag.probes.probe import Answer, Probe, run_probes

__all__ = ["Answer", "Evidence", "MeasuringSettings", "Probe", "measure_data", "run_probes"]
