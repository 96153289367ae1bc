"""How much of the model is left out while it trains.

* ``model.dropout``: the largest rate among the dropout layers, attention and recurrent layers included; 0 without any.
  A state dict holds no rates: those of the rebuilt model count, or those of your own module.
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe
from energydiag.results import Measurement


def _measure(evidence: Evidence) -> Answer:
    rates = dropout_rates(evidence.energy.module)
    return Answer((Measurement.of("model.dropout", max(rates, default=0.0), len(rates)),))


def dropout_rates(module: nn.Module) -> list[float]:
    """The rates of all layers that have one, whatever mode they are in."""
    found = []
    for part in module.modules():
        if isinstance(part, _DropoutNd):
            found.append(float(part.p))
        elif isinstance(part, nn.MultiheadAttention | nn.RNNBase):
            found.append(float(part.dropout))
    return found


PROBE = Probe("dropout", _measure)
