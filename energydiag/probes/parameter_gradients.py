"""Whether the training loss still reaches the parameters.

The gradient of the swap InfoNCE loss on the first swap set: its norm over all parameters, over each module's own
parameters, the norm of the first module that takes part over that of the last (small: it vanishes on its way back;
large: it explodes), and the norms of single samples' gradients. In eval mode, so dropout does not blur it.
``gradient.parameters.loss`` is that loss, ``gradient.parameters.nonfinite`` is the number of parameter tensors whose
gradient is NaN or infinite.
"""

from __future__ import annotations

import math

from torch import nn

from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, measured
from energydiag.probes.unused_modules import is_part_of
from energydiag.results import Measurement


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    found = evidence.parameter_gradient
    count = len(found.loss)
    used = {name: norm for name, norm in found.by_parameter.items() if not is_part_of(name, evidence.unused)}
    overflown = sum(not math.isfinite(norm) for norm in used.values())
    by_module: dict[str, float] = {}
    for name, norm in used.items():
        module = name.rpartition(".")[0] or "model"
        by_module[module] = math.hypot(by_module.get(module, 0.0), norm)
    order = _execution_order(evidence, list(by_module))
    measurements = [
        Measurement.of("gradient.parameters.nonfinite", float(overflown), len(used)),
        Measurement.of("gradient.parameters.loss", float(found.loss.double().mean()), count),
        Measurement.of("gradient.parameters.norm", math.hypot(*by_module.values()), count),
        Measurement.of(
            "gradient.parameters.zero_fraction",
            sum(norm == 0 for norm in used.values()) / max(len(used), 1),
            count,
        ),
    ]
    weights = [module for module in order if _has_matrix(evidence.energy.module, module)]
    if len(weights) > 1 and by_module[weights[-1]] > 0:
        ratio = by_module[weights[0]] / by_module[weights[-1]]
        measurements.append(Measurement.of("gradient.parameters.first_last_ratio", ratio, count))
    sample = found.sample_norm.double().cpu().numpy()
    measurements += [
        measured(
            f"gradient.parameters.sample_norm.q{round(100 * q):02d}",
            evidence.gradient_samples.quantile(sample, q),
        )
        for q in (0.05, 0.5, 0.95)
    ]
    measurements += [
        Measurement.of(f"gradient.parameters.module.{module}", by_module[module], count) for module in order
    ]
    return Answer(tuple(measurements))


def _has_matrix(root: nn.Module, name: str) -> bool:
    module = root if name == "model" else root.get_submodule(name)
    return any(p.dim() >= 2 for p in module.parameters(recurse=False))


def _execution_order(evidence: Evidence, names: list[str]) -> list[str]:
    """The modules in the order in which a forward pass enters them; one that is never entered follows its parent."""

    def place(name: str) -> int:
        while name and name not in evidence.entered:
            name = name.rpartition(".")[0]
        return evidence.entered.index(name) if name else -1

    return sorted(names, key=place)


PROBE = Probe("parameter gradients", _measure)
