"""Every term of the training loss against a slow, obvious formula on the energies of single pairs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from parts import make_batch, make_head
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.gradients import action_gradients
from energydiag.energies.pairs import Pairs
from energydiag.losses import contrastive_per_row, gradient_penalty
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.middle_layer import improved_negatives, middle_layer
from energydiag.negatives.source import sources
from energydiag.negatives.structured import SOURCE as STRUCTURED
from energydiag.plan import Descent, TrainingPlan
from energydiag.training.objective import StepLoss, mixed_in, slope_limit, step_loss

TAU = 0.7


def in_double(batch: Batch) -> Batch:
    values = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
    return Batch(**{n: v.double() if v is not None and v.is_floating_point() else v for n, v in values.items()})


BATCH = in_double(make_batch(5))
ENERGY = EnergyFunction(make_head("linear").double(), "test")
MIXED = TrainingPlan(tau=TAU, sources=("layers",))


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def loss(plan: TrainingPlan, batch: Batch = BATCH) -> StepLoss:
    found = step_loss(ENERGY, batch, plan, noise())
    return replace(found, total=found.total.detach(), info_nce=found.info_nce.detach())


def differentiable(plan: TrainingPlan, energy: EnergyFunction) -> Tensor:
    return step_loss(energy, BATCH, plan, noise()).total


def energy_at(row: int, action: Tensor) -> float:
    assert BATCH.pad_mask is not None
    with torch.no_grad():
        return float(ENERGY(BATCH.hidden[row : row + 1], action[None], BATCH.pad_mask[row : row + 1]))


def slope_at(row: int, action: Tensor) -> Tensor:
    assert BATCH.pad_mask is not None
    leaf = action[None].clone().requires_grad_()
    return torch.autograd.grad(ENERGY(BATCH.hidden[row : row + 1], leaf, BATCH.pad_mask[row : row + 1]).sum(), leaf)[0][
        0
    ]


def positives() -> list[float]:
    return [energy_at(i, BATCH.actions[i]) for i in range(len(BATCH))]


def swaps(row: int) -> list[float]:
    return [energy_at(row, BATCH.actions[j]) for j in range(len(BATCH)) if j != row]


def mixed(row: int) -> list[Tensor]:
    assert BATCH.layer_actions is not None
    return list(BATCH.layer_actions[row])


def joint(positive: float, negatives: list[float], tau: float = TAU) -> float:
    share = math.exp(-positive / tau)
    return -math.log(share / (share + sum(math.exp(-e / tau) for e in negatives)))


def decoupled(positive: float, negatives: list[float], tau: float = TAU) -> float:
    return -math.log(math.exp(-positive / tau) / sum(math.exp(-e / tau) for e in negatives))


def debiased(positive: float, negatives: list[float], tau: float = TAU, prior: float = 0.1) -> float:
    share, others = math.exp(-positive / tau), [math.exp(-e / tau) for e in negatives]
    g = max((sum(others) / len(others) - prior * share) / (1 - prior), math.exp(-1 / tau))
    return -math.log(share / (share + len(others) * g))


FORMS: dict[str, Callable[..., float]] = {"joint": joint, "decoupled": decoupled, "debiased": debiased}


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("contrast", FORMS)
@pytest.mark.parametrize("swap", [True, False])
def test_the_contrast_with_and_without_swap_negatives(contrast: str, swap: bool) -> None:
    found = loss(replace(MIXED, contrast=contrast, swap=swap))  # type: ignore[arg-type]
    wanted = mean(
        [
            FORMS[contrast](p, [*(swaps(i) if swap else []), *(energy_at(i, a) for a in mixed(i))])
            for i, p in enumerate(positives())
        ]
    )
    assert float(found.total) == float(found.info_nce) == pytest.approx(wanted, rel=1e-9)
    assert found.swap.diagonal().tolist() == pytest.approx(positives())


@pytest.mark.parametrize("contrast", FORMS)
def test_the_forms_on_energies_from_afar(contrast: str) -> None:
    generator = torch.Generator().manual_seed(1)
    positive = torch.tensor([0.3, -2.0, 4.0, 0.0], dtype=torch.float64)
    negative = 3 * torch.randn(4, 6, generator=generator, dtype=torch.float64)
    negative[0] = 9  # far above: the debiased bound acts
    kept = torch.rand(4, 6, generator=generator) < 0.7
    kept[0], kept[3] = True, False
    energies = torch.cat((positive[:, None], negative), dim=1).requires_grad_()
    found = contrastive_per_row(energies[:, 0], energies[:, 1:], kept, TAU, contrast)  # type: ignore[arg-type]
    for row in range(3):
        wanted = FORMS[contrast](float(positive[row]), negative[row][kept[row]].tolist())
        assert float(found[row].detach()) == pytest.approx(wanted, rel=1e-9)
    assert float(found[3].detach()) == 0
    found.sum().backward()
    assert energies.grad is not None
    assert bool(torch.isfinite(energies.grad).all())
    assert not energies.grad[:, 1:][~kept].any()
    # without overflow where the plain formula has one
    far = contrastive_per_row(1e4 * positive, 1e4 * negative, kept, 0.01, contrast)  # type: ignore[arg-type]
    assert bool(torch.isfinite(far).all())


def test_swap_pairs_within_the_radius_do_not_count_but_the_positive_does() -> None:
    near = replace(BATCH, actions=BATCH.actions.clone())
    near.actions[1] = near.actions[0] + 0.05
    plan = TrainingPlan(tau=TAU, false_negative_radius=0.1)
    table = loss(TrainingPlan(tau=TAU), near).swap.tolist()
    wanted = [joint(table[i][i], [table[i][j] for j in range(5) if j != i and {i, j} != {0, 1}]) for i in range(5)]
    assert float(loss(plan, near).total) == pytest.approx(mean(wanted), rel=1e-9)
    everything = loss(replace(plan, false_negative_radius=99.0, contrast="decoupled"), near)
    assert float(everything.total) == 0


def test_the_anchor_is_the_mean_square_of_all_energies() -> None:
    seen = [e for i, p in enumerate(positives()) for e in (p, *swaps(i), *(energy_at(i, a) for a in mixed(i)))]
    found = loss(replace(MIXED, anchor=2.0))
    assert float(found.total - found.info_nce) == pytest.approx(2 * mean([e * e for e in seen]), rel=1e-9)
    alone = loss(replace(MIXED, anchor=2.0, swap=False))
    seen = [e for i, p in enumerate(positives()) for e in (p, *(energy_at(i, a) for a in mixed(i)))]
    assert float(alone.total - alone.info_nce) == pytest.approx(2 * mean([e * e for e in seen]), rel=1e-9)


def test_alignment_is_one_minus_the_cosine_with_the_way_to_the_expert() -> None:
    cosines = []
    for i in range(5):
        for action in mixed(i):
            down, way = -slope_at(i, action).flatten(), (BATCH.actions[i] - action).flatten()
            cosines.append(float(down @ way / (down.norm() * way.norm())))
    found = loss(replace(MIXED, alignment=3.0))
    assert float(found.total - found.info_nce) == pytest.approx(3 * (1 - mean(cosines)), rel=1e-8)
    assert found.alignment == pytest.approx(mean(cosines), rel=1e-8)


def distances(row: int) -> list[float]:
    return [float((a - BATCH.actions[row]).flatten().norm()) for a in mixed(row)]


def test_ranking_compares_all_pairs_of_one_context_by_distance() -> None:
    terms = []
    for i, p in enumerate(positives()):
        known = list(zip([0.0, *distances(i)], [p, *(energy_at(i, a) for a in mixed(i))], strict=True))
        terms += [math.log1p(math.exp(e - f)) for d, e in known for g, f in known if d < g]
    found = loss(replace(MIXED, ranking=0.5))
    assert float(found.total - found.info_nce) == pytest.approx(0.5 * mean(terms), rel=1e-9)


def test_the_margin_grows_with_the_distance() -> None:
    unit = mean([d for i in range(5) for d in distances(i)])
    terms = [
        max(0.0, d / unit - (energy_at(i, a) - p) / TAU)
        for i, p in enumerate(positives())
        for d, a in zip(distances(i), mixed(i), strict=True)
    ]
    found = loss(replace(MIXED, margin=0.5))
    assert float(found.total - found.info_nce) == pytest.approx(0.5 * mean(terms), rel=1e-9)


@pytest.mark.parametrize("sources_", [(), ("layers",)])
def test_the_gradient_penalty_acts_beyond_a_standard_deviation_per_policy_error(sources_: tuple[str, ...]) -> None:
    assert BATCH.policy_actions is not None
    energies, norms = [], []
    for i, p in enumerate(positives()):
        points = mixed(i) if sources_ else [BATCH.actions[i]]
        norms += [float(slope_at(i, a).norm()) for a in points]
        energies += [p, *swaps(i), *(energy_at(i, a) for a in mixed(i) if sources_)]
    error = mean([float((BATCH.policy_actions[i] - BATCH.actions[i]).norm()) for i in range(5)])
    limit = float(torch.tensor(energies, dtype=torch.float64).std(correction=0)) / error
    assert slope_limit(torch.tensor(energies, dtype=torch.float64), BATCH) == pytest.approx(limit)
    slopes = torch.tensor(norms, dtype=torch.float64).reshape(5, -1, 1)
    assert float(gradient_penalty(slopes, 0.1)) == pytest.approx(mean([max(0, n / 0.1 - 1) ** 2 for n in norms]))
    found = loss(replace(MIXED, sources=sources_, gradient_penalty=4.0))
    wanted = 4 * mean([max(0.0, n / limit - 1) ** 2 for n in norms])
    assert float(found.total - found.info_nce) == pytest.approx(wanted, rel=1e-8, abs=1e-12)


def test_a_wrong_sign_turns_the_contrast_round() -> None:
    wanted = mean([joint(-p, [-e for e in swaps(i)]) for i, p in enumerate(positives())])
    assert float(loss(TrainingPlan(tau=TAU, sign=-1)).total) == pytest.approx(wanted, rel=1e-9)


FIELD = replace(MIXED, alignment=1.0, gradient_penalty=1.0, ranking=1.0, margin=1.0, anchor=0.1, descent=Descent(2))


def test_the_gradient_of_everything_equals_finite_differences() -> None:
    module = make_head("rescaled").double()
    energy = EnergyFunction(module, "test")
    plan = replace(FIELD, descent=None, gradient_penalty=0.0)  # their points and limit follow the weights, uncounted
    weight = module.action_linear.fc1.weight
    module.zero_grad()
    differentiable(plan, energy).backward()
    assert weight.grad is not None
    for place in ((0, 0), (7, 2)):
        values = []
        for bump in (1e-6, -1e-6):
            with torch.no_grad():
                weight[place] += bump
            values.append(float(differentiable(plan, energy).detach()))
            with torch.no_grad():
                weight[place] -= bump
        assert float(weight.grad[place]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-7)


def test_a_dead_head_gives_no_nan() -> None:
    module = make_head("original").double()
    with torch.no_grad():
        module.prediction_head.fc2.bias.fill_(400)
    differentiable(FIELD, EnergyFunction(module, "test")).backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in module.parameters() if p.grad is not None)


# Negatives


def test_the_designs_improved_negatives() -> None:
    layers = torch.randn(5, 5, *BATCH.actions.shape[1:], generator=noise()).double()
    batch = replace(BATCH, layer_actions=layers)
    assert batch.layer_actions is not None
    means = [
        mean([energy_at(i, batch.layer_actions[i, layer]) for i in range(5)]) for layer in range(4)
    ]  # the last layer is the policy's own action
    assert middle_layer(ENERGY, batch) == sorted(range(4), key=means.__getitem__)[1]
    made = improved_negatives(ENERGY, batch, noise())
    assert made.shape == (5, 3, *BATCH.actions.shape[1:])
    assert torch.equal(made[:, 0], batch.layer_actions[:, middle_layer(ENERGY, batch)])
    large = replace(batch, actions=torch.zeros(2000, 4, 3), layer_actions=None, hidden=torch.zeros(2000, 1, 12))
    deviations = improved_negatives(ENERGY, large, noise()).std(dim=(0, 2, 3))
    assert deviations.tolist() == pytest.approx([0.1, 0.3], rel=0.02)


def test_adversarial_negatives_start_at_three_places_and_go_down() -> None:
    plan = TrainingPlan(descent=Descent(steps=3, length=0.05, noise=0.0))
    ends = mixed_in(ENERGY, BATCH, plan, noise())
    assert ends is not None
    assert ends.shape[1] == 3
    assert BATCH.policy_actions is not None
    far = BATCH.actions + 0.3 * torch.randn(BATCH.actions.shape, generator=noise()).double()
    starts = torch.stack((BATCH.actions, BATCH.policy_actions, far), dim=1)
    found = [
        action_gradients(ENERGY, Pairs(BATCH.hidden, a, BATCH.pad_mask, shared=False)).energy for a in (starts, ends)
    ]
    assert bool((found[1] < found[0]).all())
    assert float((ends - starts).flatten(2).norm(dim=2).max()) <= 3 * 0.05 + 1e-9
    without = mixed_in(ENERGY, replace(BATCH, policy_actions=None), plan, noise())
    assert without is not None
    assert without.shape[1] == 2


def test_structured_negatives_change_one_thing_each() -> None:
    chunk = torch.tensor([[[1.0, 2, 1], [3, 4, 1], [5, 6, 0]]])
    made = STRUCTURED.make(Batch(torch.zeros(1, 1, 1), chunk), noise())
    assert {name: value[0, 0].tolist() for name, value in made.items()} == {
        "shift_late": [[1, 2, 1], [1, 2, 1], [3, 4, 1]],
        "shift_early": [[3, 4, 1], [5, 6, 0], [5, 6, 0]],
        "amplitude_0.5": [[0.5, 1, 0.5], [1.5, 2, 0.5], [2.5, 3, 0]],
        "amplitude_1.5": [[1.5, 3, 1.5], [4.5, 6, 1.5], [7.5, 9, 0]],
        "direction": [[-1, -2, 1], [-3, -4, 1], [-5, -6, 0]],
        "gripper_flip": [[1, 2, 0], [3, 4, 0], [5, 6, 1]],
    }
    signed = STRUCTURED.make(Batch(torch.zeros(1, 1, 1), chunk - 2), noise())["gripper_flip"]
    assert signed[0, 0, :, -1].tolist() == [1, 1, 2]
    plain = STRUCTURED.make(Batch(torch.zeros(4, 1, 1), torch.randn(4, 1)), noise())
    assert set(plain) == {"amplitude_0.5", "amplitude_1.5", "direction"}
    assert all(value.shape == (4, 1, 1) for value in plain.values())


def test_every_source_is_mixed_in_by_name() -> None:
    given = replace(BATCH, negatives=BATCH.actions[:, None] + 1)
    made = mixed_in(ENERGY, given, TrainingPlan(sources=tuple(sources())), noise())
    assert made is not None
    assert made.shape[1] == sum(v.shape[1] for s in sources().values() for v in s.make(given, noise()).values())
