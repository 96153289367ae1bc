"""InfoNCE: the softmax over the expert's action and N negatives (van den Oord et al. 2018, 1807.03748).

One way, N = B − 1; both ways (CLIP, 2103.00020), the mean of rows' and columns' losses, sometimes their sum; with M
extra negatives, N = B − 1 + M; with a queue of K keys (MoCo, 1911.05722), N = K; with both views of each sample as
negatives (SimCLR), N = 2B − 2. Several ranks that do not gather, or gradient accumulation, divide B.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from energydiag.objectives.objective import NO_FIT, Chance, Clues, Fit, Objective, Setting

if TYPE_CHECKING:
    from torch import Tensor

_QUEUES = (4096, 8192, 16384, 32768, 65536, 131072)
_NEAR = 0.005
"""Share of a loss within which a power of two is taken for the number of candidates (heuristic)."""

_PARTS = (2, 4, 8, 16, 32, 64)


def infonce_floor(negatives: int, reach: float, *, cosine: bool = False) -> float:
    """The lowest InfoNCE: ``log(1 + N·exp(−R))`` for scores in a range R.

    For cosines it is ``log(1 + N·exp(−(1 + 1/N)·R/2))``: N + 1 unit vectors have a mean cosine of at least −1/N, since
    ``Σᵢⱼ fᵢ·fⱼ = ‖Σ f‖² ≥ 0``. With the positive at 1, the negatives cannot all be at −1.
    """
    if math.isinf(reach):
        return 0.0
    width = (1 + 1 / negatives) * reach / 2 if cosine else reach
    return math.log1p(negatives * math.exp(-width))


def _chances(setting: Setting) -> tuple[Chance, ...]:
    if setting.negatives is None:
        return ()
    usual = Chance(math.log1p(setting.negatives), f"log {setting.negatives + 1}", setting.negatives)
    size = setting.batch_size
    if size is None or size < 2 or setting.negatives != size - 1:
        return (usual,)
    return (
        usual,
        *(
            Chance(math.log(part), f"log {part}: 1/{size // part} of the batch are candidates", part - 1)
            for part in (size // parts for parts in _PARTS if size % parts == 0)
            if part > 2
        ),
        Chance(math.log(2 * size - 1), f"log {2 * size - 1}: both views of each sample are candidates", 2 * size - 2),
        Chance(2 * math.log(size), f"2 log {size}: both directions are added", size - 1),
        *(Chance(math.log1p(keys), f"log {keys + 1}: a queue of {keys} keys", keys) for keys in _QUEUES),
    )


def _floor(setting: Setting) -> float | None:
    if setting.reach is None or (setting.negatives is None and math.isfinite(setting.reach)):
        return None
    return infonce_floor(setting.negatives or 1, setting.reach, cosine=setting.cosine)


def candidates_of(first: float) -> int:
    """How many candidates have this loss by chance: a power of two where one is as near as a nearby log k."""
    exact = math.exp(min(first, 30.0))
    power = 2 ** round(math.log2(exact))
    return power if abs(math.log(power) - first) <= _NEAR * first else round(exact)


def _fits(clues: Clues) -> Fit:
    if name := clues.named("info_nce", "infonce"):
        return Fit(2, f"`{name}` was logged")  # also where its values are impossible
    if clues.lowest is not None and clues.lowest < 0:
        return NO_FIT
    if name := clues.named("categorical_accuracy", "logsumexp", "acc@5"):
        return Fit(3, f"`{name}` was logged")
    if name := clues.columns.get("info_nce", ""):
        return Fit(2, f"`{name}` was logged")
    if clues.softmax:
        return Fit(2, clues.softmax)
    if clues.first is None or clues.first < math.log(2.5):
        return NO_FIT
    candidates = candidates_of(clues.first)
    known = [one for one in _chances(clues.setting) if clues.starts_at(one.value)]
    if known:
        return Fit(2, f"the loss begins at {clues.first:.3g}, about {known[0].formula}")
    if clues.top1 is not None and clues.starts_at(math.log(candidates)) and clues.top1 <= 5 / candidates:
        beside = f"beside a top-1 of {clues.top1:.2g}"
        return Fit(1, f"the loss begins at {clues.first:.3g}, about log {candidates}, {beside}")
    if candidates & (candidates - 1) == 0 and clues.starts_at(math.log(candidates), _NEAR):
        return Fit(1, f"the loss begins at {clues.first:.4g}, about log {candidates}")
    return NO_FIT


def loss(positive_B: Tensor, negative_BN: Tensor) -> Tensor:
    """−log softmax(s)₊, ``[B]``."""
    return positive_B.logaddexp(negative_BN.logsumexp(dim=1)) - positive_B


OBJECTIVE = Objective(
    name="infonce",
    title="InfoNCE",
    aliases=(
        "info_nce",
        "infonce",
        "ntxent",
        "nt_xent",
        "clip",
        "contrastive",
        "softmax",
        "joint",
        "decoupled",
        "debiased",
        "moco",
        "simclr",
    ),
    formula="−log softmax(s)₊",
    chances=_chances,
    floor=_floor,
    improved="held-out top-1 and AUROC rise; the loss alone only at equal N, τ and head",
    fits=_fits,
    loss=loss,
)
