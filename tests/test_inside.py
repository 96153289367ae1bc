"""What is measured inside a model, against slow loops over single samples, and what its weights alone tell."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from parts import ACTION, CONTEXT, STEPS, ConcatMLP, make_batch, make_head, pooled
from torch import Tensor, nn
from torch.nn import functional

from energydiag.batch import Batch
from energydiag.models.cross_attention import CrossAttentionEnergy
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import load_checkpoint
from energydiag.probes import Evidence, MeasuringSettings, activations, separation, untouched, weights
from energydiag.probes.activation_calls import visible_everywhere
from energydiag.probes.activations import ACTIVE_ABOVE, rarest_activity
from energydiag.results import Finding, Measurement
from energydiag.rules import judge

SAMPLES = 40
FLAT = CONTEXT + STEPS * ACTION
INSIDE = {"ED105", "ED106", "ED305", "ED306", "ED307", "ED308"}
UNTRAINED = "ED309"


def evidence(model: nn.Module, batch: Batch | None = None, **settings: int) -> Evidence:
    given = batch if batch is not None else make_batch(SAMPLES)
    return Evidence(EnergyFunction(model.eval(), "test"), given, given, MeasuringSettings(swap_size=8, **settings))


def inside(model: nn.Module, batch: Batch | None = None, **settings: int) -> dict[str, Measurement]:
    answer = activations.PROBE.measure(evidence(model, batch, **settings))
    return {m.name.removeprefix("hidden."): m for m in answer.measurements}


def of_weights(model: nn.Module) -> dict[str, Measurement]:
    answer = weights.PROBE.measure(evidence(model))
    return {m.name.removeprefix("weights."): m for m in answer.measurements}


def reasons(probe: object, given: Evidence) -> dict[str, str]:
    return {s.name: s.reason for s in probe.PROBE.measure(given).skipped}  # type: ignore[attr-defined]


def measurements(model: nn.Module, batch: Batch | None = None) -> list[Measurement]:
    given = evidence(model) if batch is None else evidence(model, batch)
    return [m for probe in (activations, weights, separation) for m in probe.PROBE.measure(given).measurements]


def found(model: nn.Module, batch: Batch | None = None) -> dict[str, Finding]:
    judged = judge(measurements(model, batch), select=tuple(INSIDE))
    return {finding.code: finding for finding in judged.findings}


class Rare(nn.Module):
    """Each of 64 relus is on in about 1.4 % of the samples; ``dead`` of them in none."""

    def __init__(self, dead: int = 0) -> None:
        super().__init__()
        self.limit = nn.Parameter(torch.full((64,), 2.2))
        self.limit.data[:dead] = 100.0

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        told = hidden.flatten(1) @ torch.randn(60, 64, generator=torch.Generator().manual_seed(3)) / 60**0.5
        own: Tensor = torch.relu(told - self.limit).sum(dim=1) + actions.flatten(1).square().sum(dim=1)
        return own


def test_units_that_are_on_now_and_then_are_not_dead_however_few_the_samples() -> None:
    """Most units are off in all of 12 samples; that makes no layer dead."""
    few = judge(measurements(Rare(), make_batch(12)), select=("ED106",))
    assert not few.findings
    assert [question.code for question in few.open] == ["ED106"]
    assert "ED106" not in found(Rare(), make_batch(200))


def test_a_layer_does_not_get_worse_with_fewer_samples() -> None:
    severities = [found(Rare(dead=48), make_batch(count)).get("ED106") for count in (300, 200, 96, 40)]
    assert [one and one.severity for one in severities] == ["warning", "warning", None, None]


def test_the_worst_layer_decides() -> None:
    model = Net(torch.relu, torch.relu)
    with torch.no_grad():
        model.one.bias.fill_(-50.0)  # 6 of 16 units
    assert found(model, make_batch(160))["ED106"].severity == "critical"


def test_how_often_a_unit_may_be_on_that_was_off_in_all_samples() -> None:
    for count in (1, 10, 148, 149, 1000):
        rate = rarest_activity(count)
        assert (1 - rate) ** count == pytest.approx(0.05)
    assert rarest_activity(149) <= ACTIVE_ABOVE < rarest_activity(148)


def flat(hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Tensor:
    return torch.cat((pooled(hidden, mask), actions.flatten(1)), dim=1)


class Net(nn.Module):
    """Two hidden layers with any activations, written as functions or as modules."""

    def __init__(self, first: Callable[[Tensor], Tensor], second: Callable[[Tensor], Tensor], scale: float = 1) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.one, self.two, self.last = nn.Linear(FLAT, 6), nn.Linear(6, 10), nn.Linear(10, 1)
        self.first, self.second, self.scale = first, second, scale

    def inputs(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """What enters the two activations and the last layer."""
        before = self.scale * self.one(flat(hidden, actions, mask))
        then = self.scale * self.two(self.first(before.clone()))
        return before, then, self.second(then.clone())

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None = None) -> Tensor:
        before = self.scale * self.one(flat(hidden, actions, mask))
        then = self.scale * self.two(self.first(before))
        answer: Tensor = self.last(self.second(then))
        return answer


def both_passes(model: Net, batch: Batch) -> list[tuple[int, Tensor, Tensor, Tensor]]:
    """Sample by sample, with its own and with another's action: the inputs of both activations and the last layer."""
    rows = []
    half = len(batch) // 2
    for i in range(len(batch)):
        for j in (i, (i - half) % len(batch)):
            mask = None if batch.pad_mask is None else batch.pad_mask[i][None]
            with torch.no_grad():
                found = model.inputs(batch.hidden[i][None], batch.actions[j][None], mask)
            rows.append((i, *(value[0] for value in found)))
    return rows


@pytest.mark.parametrize(
    ("function", "limit"),
    [
        (torch.tanh, math.atanh(math.sqrt(0.9))),
        (nn.Tanh(), math.atanh(math.sqrt(0.9))),
        (lambda x: x.sigmoid(), math.log((1 + math.sqrt(0.9)) / (1 - math.sqrt(0.9)))),
        (functional.hardtanh, 1.0),
        (nn.Hardtanh(-2.0, 2.0, inplace=True), 2.0),
        (nn.Hardsigmoid(), 3.0),
        (functional.softsign, math.sqrt(10) - 1),
    ],
)
def test_saturated_units_against_a_loop(function: Callable[[Tensor], Tensor], limit: float) -> None:
    model, batch = Net(function, function, scale=4.0), make_batch(SAMPLES)
    measured = inside(model, batch)
    first, second = [], []
    for _, before, then, _ in both_passes(model, batch):
        first.append(np.mean([abs(u) > limit for u in before.tolist()]))
        second.append(np.mean([abs(u) > limit for u in then.tolist()]))
    assert 0 < np.mean(first) < 1
    assert 0 < np.mean(second) < 1
    whole = (6 * np.mean(first) + 10 * np.mean(second)) / 16
    assert measured["saturated_fraction"].value == pytest.approx(whole, abs=1e-6)
    assert measured["saturated_fraction.worst"].value == pytest.approx(max(np.mean(first), np.mean(second)), abs=1e-6)
    assert measured["saturated_fraction"].ci95 is not None
    layers = sorted(m.value for name, m in measured.items() if name.startswith("saturated_fraction.layer."))
    assert layers == pytest.approx(sorted((np.mean(first), np.mean(second))), abs=1e-6)
    assert not any(name.startswith("dead_units") for name in measured)


@pytest.mark.parametrize(
    ("function", "limit"),
    [
        (torch.relu, 0.0),
        (nn.ReLU(inplace=True), 0.0),
        (lambda x: x.relu_(), 0.0),
        (functional.relu6, 0.0),
        (nn.ReLU6(), 0.0),
        (nn.SiLU(), -18.1),
        (functional.elu, -15.25),
        (nn.Softplus(), -15.25),
        (lambda x: functional.softplus(x, beta=2.0), -7.62),
        (lambda x: functional.gelu(x, approximate="tanh"), -5.3),
        (nn.Mish(), -18.1),
    ],
)
def test_dead_units_against_a_loop(function: Callable[[Tensor], Tensor], limit: float) -> None:
    model, batch = Net(function, function), make_batch(SAMPLES)
    with torch.no_grad():
        model.one.bias[:4] = torch.tensor([-40.0, -40.0, limit - 0.5, limit + 0.3])
        model.one.weight[:4] *= 0.01
        model.two.bias[:3] = -40.0
        model.two.weight[:3] *= 0.01
    measured = inside(model, batch)
    rows = both_passes(model, batch)
    first = [all(before[k] <= limit for _, before, _, _ in rows) for k in range(6)]
    second = [all(then[k] <= limit for _, _, then, _ in rows) for k in range(10)]
    assert sum(first) == 3
    assert 3 <= sum(second) < 10
    assert measured["dead_units"].value == pytest.approx((sum(first) + sum(second)) / 16)
    assert measured["dead_units.worst"].value == pytest.approx(max(sum(first) / 6, sum(second) / 10))
    assert not any(name.startswith("saturated_fraction") for name in measured)


def test_a_leaky_unit_is_never_dead() -> None:
    model = Net(nn.LeakyReLU(), lambda x: functional.leaky_relu(x, 0.2))
    with torch.no_grad():
        model.one.bias.fill_(-100.0)
    assert inside(model)["dead_units"].value == 0


def test_a_unit_that_only_others_actions_switch_on_is_alive() -> None:
    class Meeting(nn.Module):
        """Its unit is on where context and action are not of the same sample."""

        def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
            apart = (hidden[:, 0, :1] - actions[:, 0, :1]).abs() - 1e-3
            return (torch.relu(apart) * hidden[:, 0, :3] * actions[:, 0]).sum(dim=1)

    batch = make_batch(SAMPLES)
    hidden = batch.hidden.clone()
    hidden[:, 0, 0] = batch.actions[:, 0, 0]
    assert inside(Meeting(), replace(batch, hidden=hidden))["dead_units"].value == 0


def test_constant_units_against_a_loop() -> None:
    model, batch = Net(torch.tanh, torch.relu), make_batch(SAMPLES)
    with torch.no_grad():
        model.one.weight[:2] = 0.0
        model.two.weight[4] = 0.0
        model.two.bias[5] = -50.0
    rows = both_passes(model, batch)
    first = [len({float(torch.tanh(before[k])) for _, before, _, _ in rows}) == 1 for k in range(6)]
    second = [len({float(after[k]) for *_, after in rows}) == 1 for k in range(10)]
    assert sum(first) == 2
    assert sum(second) >= 2
    measured = inside(model, batch)
    assert measured["constant_units"].value == pytest.approx((sum(first) + sum(second)) / 16)
    assert measured["constant_units.worst"].value == pytest.approx(max(sum(first) / 6, sum(second) / 10))


def rank_of(matrix: np.ndarray) -> float:
    """Roy and Vetterli, as written down there."""
    sigma = np.linalg.svd(matrix, compute_uv=False)
    p = [s / sigma.sum() for s in sigma if s > 1e-6 * sigma[0]]
    return math.exp(-sum(x * math.log(x) for x in p))


def test_effective_rank_against_numpy() -> None:
    model, batch = Net(torch.tanh, torch.tanh), make_batch(SAMPLES)
    features = np.array([after.tolist() for *_, after in both_passes(model, batch)])
    measured = inside(model, batch)
    assert measured["effective_rank"].value == pytest.approx(rank_of(features - features.mean(axis=0)), rel=1e-4)
    assert measured["width"].value == 10


def test_attention_head_with_steps_and_padding() -> None:
    """The features of every step without the step's own mean; six activations, one a stack and one a block."""
    model, batch = make_head("linear"), make_batch(SAMPLES)
    kept: list[Tensor] = []
    hook = model.prediction_head.fc2.register_forward_pre_hook(lambda _m, inputs: kept.append(inputs[0]))
    for i in range(SAMPLES):
        for j in (i, (i - SAMPLES // 2) % SAMPLES):
            with torch.no_grad():
                model(batch.hidden[i][None], batch.actions[j][None], batch.pad_mask[i][None])  # type: ignore[index]
    hook.remove()
    features = torch.cat(kept).double()
    centred = features - features.mean(dim=0)
    measured = inside(model, batch)
    assert measured["effective_rank"].value == pytest.approx(rank_of(centred.flatten(0, 1).numpy()), rel=1e-3)
    assert measured["width"].value == 16
    layers = [name for name in measured if name.startswith("dead_units.layer.")]
    assert len(layers) == 6
    assert "dead_units.layer.action_linear.act" in layers


def test_a_narrow_features_rank_is_one_and_a_constants_is_zero() -> None:
    line = torch.randn(30, 1, 1) * torch.randn(12)
    assert activations.feature_rank((line + torch.randn(12)).double()) == pytest.approx(1, abs=1e-3)
    assert activations.feature_rank(torch.randn(12).expand(30, 2, 12).double()) == 0
    assert activations.feature_rank(torch.randn(4, 1, 500).double()) == pytest.approx(3, rel=0.1)


class Channels(nn.Module):
    """Convolutions over the steps: a unit is a channel."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last = nn.Conv1d(ACTION, 5, 1), nn.Linear(5 * STEPS + CONTEXT, 1)

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None = None) -> Tensor:
        inner = torch.relu(self.conv(actions.transpose(1, 2)))
        answer: Tensor = self.last(torch.cat((inner.flatten(1), pooled(hidden, mask)), dim=1))
        return answer


def test_a_unit_behind_a_convolution_is_a_channel() -> None:
    model = Channels()
    with torch.no_grad():
        model.conv.bias[1:3] = -50.0  # type: ignore[index]
    assert inside(model)["dead_units"].value == pytest.approx(2 / 5)


class Merged(nn.Module):
    """Samples and steps in one dimension, then steps before samples."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.last = nn.Linear(ACTION, 4), nn.Linear(4, 4), nn.Linear(4 + CONTEXT, 1)
        with torch.no_grad():
            self.one.bias[0] = self.two.bias[:2] = -60.0
            self.one.bias[1:] = self.two.bias[2:] = 60.0

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None = None) -> Tensor:
        merged = torch.relu(self.one(actions.reshape(-1, ACTION)))
        turned = torch.relu(self.two(merged.reshape(len(actions), STEPS, 4).transpose(0, 1)))
        answer: Tensor = self.last(torch.cat((turned.sum(dim=0), pooled(hidden, mask)), dim=1))
        return answer


def test_samples_are_found_wherever_they_are() -> None:
    measured = inside(Merged())
    layers = sorted(m.value for name, m in measured.items() if name.startswith("dead_units.layer."))
    assert layers == [0.25, 0.5]
    assert {name for name in measured if ".layer." in name} == {
        "dead_units.layer.model",
        "dead_units.layer.model#2",
    }


class OfParameters(ConcatMLP):
    """An activation of a parameter is no hidden unit."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.full((2, 3), -100.0))
        self.more = nn.Parameter(torch.full((6, 2), 100.0))

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        shift = functional.softplus(self.free).sum() + torch.tanh(self.more).mean()
        return super().forward(hidden, actions, pad_mask) + shift


def test_functions_of_parameters_are_left_out() -> None:
    given = evidence(OfParameters())
    assert "hidden.saturated_fraction" in reasons(activations, given)
    assert inside(OfParameters())["dead_units"].value == inside(ConcatMLP())["dead_units"].value


@pytest.mark.parametrize("end", [torch.sigmoid, lambda x: 3 * torch.tanh(x) + 1, functional.elu, functional.gelu])
def test_the_activation_of_the_energy_is_left_out(end: Callable[[Tensor], Tensor]) -> None:
    class Ended(ConcatMLP):
        def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
            return end(super().forward(hidden, actions, pad_mask))

    measured = inside(Ended())
    assert "saturated_fraction" not in measured
    assert [name for name in measured if name.startswith("dead_units.layer.")] == ["dead_units.layer.net.1"]


class Einsum(nn.Module):
    """No layer, no activation: two matrices and an einsum."""

    def __init__(self, rank: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left = nn.Parameter(torch.randn(CONTEXT, rank))
        self.right = nn.Parameter(torch.randn(STEPS * ACTION, rank))

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None = None) -> Tensor:
        return torch.einsum("bi,ir,jr,bj->b", pooled(hidden, mask), self.left, self.right, actions.flatten(1))


def test_without_activations_or_layers_there_is_a_reason() -> None:
    why = reasons(activations, evidence(Einsum()))
    assert "was seen inside the model" in why["hidden.saturated_fraction"]
    assert "was seen inside the model" in why["hidden.dead_units"]
    assert "no activation" in why["hidden.constant_units"]
    assert "no linear layer" in why["hidden.effective_rank"]


def test_table_rank_against_numpy() -> None:
    given = evidence(Einsum(rank=3))
    ranks = []
    for table in given.swap.energy.double().numpy():
        size = len(table)
        left = np.array(
            [
                [table[i, j] - table[i].mean() - table[:, j].mean() + table.mean() for j in range(size)]
                for i in range(size)
            ]
        )
        ranks.append(rank_of(left))
    assert inside(Einsum(rank=3))["separation.table_rank"].value == pytest.approx(np.mean(ranks), rel=1e-4)
    actions = [
        rank_of(part - part.mean(axis=0))
        for part in (given.batch.actions[index].flatten(1).double().numpy() for index in given.swap.index)
    ]
    assert inside(Einsum())["separation.action_rank"].value == pytest.approx(np.mean(actions))


def test_a_bottleneck_has_rank_one_and_a_sum_has_none() -> None:
    class Sum(Einsum):
        def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None = None) -> Tensor:
            return 100 + (pooled(hidden, mask) @ self.left).sum(dim=1) + (actions.flatten(1) @ self.right).sum(dim=1)

    assert inside(Einsum(rank=1))["separation.table_rank"].value == pytest.approx(1, abs=1e-3)
    assert "no interaction" in reasons(activations, evidence(Sum()))["separation.table_rank"]


def test_hidden_tokens_are_replaced_by_visible_ones_of_the_sample() -> None:
    batch = make_batch(SAMPLES)
    assert batch.pad_mask is not None
    filled = visible_everywhere(batch)
    for i in range(SAMPLES):
        visible = [t for t in range(batch.hidden.shape[1]) if not batch.pad_mask[i, t]]
        for t in range(batch.hidden.shape[1]):
            source = visible[t % len(visible)] if batch.pad_mask[i, t] else t
            assert torch.equal(filled[i, t], batch.hidden[i, source])
    assert visible_everywhere(replace(batch, pad_mask=None)) is batch.hidden


def test_what_stands_in_hidden_tokens_does_not_matter() -> None:
    batch = make_batch(SAMPLES)
    assert batch.pad_mask is not None
    other = torch.where(batch.pad_mask[:, :, None], torch.full_like(batch.hidden, 1e4), batch.hidden)
    mine, same = inside(make_head(), batch), inside(make_head(), replace(batch, hidden=other))
    for name in ("dead_units", "constant_units", "effective_rank"):
        assert mine[name].value == pytest.approx(same[name].value, rel=1e-5)


def test_pieces_make_no_difference() -> None:
    model = Net(torch.tanh, torch.relu, scale=3.0)
    whole = inside(model)
    for budget in (1, 20_000):
        parts = inside(model, memory_budget=budget)
        assert set(parts) == set(whole)
        for name, measurement in whole.items():
            assert parts[name].value == pytest.approx(measurement.value, rel=1e-5), name


def test_the_model_is_left_as_it_was() -> None:
    model = Net(torch.tanh, nn.ReLU(inplace=True))
    given = evidence(model)
    _ = given.swap, given.reading
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    activations.PROBE.measure(given)
    weights.PROBE.measure(given)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for part in model.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


class Changing(ConcatMLP):
    """Runs an activation more when it is called with two samples."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer = super().forward(hidden, actions, pad_mask)
        return answer + torch.tanh(answer.expand(-1, 2)).sum() * 0 if len(hidden) == 2 else answer


def test_a_model_that_calls_other_layers_is_skipped_and_its_table_is_not() -> None:
    given = evidence(Changing())
    assert "other layers" in reasons(activations, given)["hidden"]
    assert "separation.table_rank" in inside(Changing())
    assert not any(part._forward_hooks for part in given.energy.module.modules())


def test_half_precision_and_contexts_without_tokens() -> None:
    batch = make_batch(SAMPLES)
    exact = inside(Net(torch.tanh, torch.relu), batch)
    rounded = inside(Net(torch.tanh, torch.relu).to(torch.bfloat16), batch)
    assert rounded["saturated_fraction"].value == pytest.approx(exact["saturated_fraction"].value, abs=0.02)
    single = inside(ConcatMLP(), Batch(pooled(batch.hidden, batch.pad_mask), batch.actions))
    assert single["effective_rank"].value > 3


# Weights


def test_sizes_against_a_loop() -> None:
    model = make_head()
    measured = of_weights(model)
    state = model.state_dict()
    expected = {}
    for name, value in state.items():
        if value.dim() != 2:
            continue
        path = name.removesuffix(".weight").removesuffix(".in_proj_weight")
        thirds = zip((".query", ".key", ".value"), value.split(16), strict=True)
        for suffix, part in thirds if "in_proj" in name else (("", value),):
            fan_in = part.shape[1]
            square = sum(float(w) ** 2 for w in part.flatten()) / part.numel()
            expected[path + suffix] = math.sqrt(square) * math.sqrt(3 * fan_in)
    layers = {n.removeprefix("rms_relative.layer."): m.value for n, m in measured.items() if ".layer." in n}
    assert layers == pytest.approx(expected)
    assert measured["rms_relative.min"].value == pytest.approx(min(expected.values()))
    assert measured["rms_relative.max"].value == pytest.approx(max(expected.values()))
    assert all(0.7 < value < 1.5 for value in expected.values())
    assert measured["zero_layers"].value == measured["nonfinite"].value == measured["symmetric_units"].value == 0


def test_norms_against_numpy() -> None:
    model = make_head()
    matrices = []
    for name, value in model.state_dict().items():
        if value.dim() == 2:
            matrices += list(value.double().split(16)) if "in_proj" in name else [value.double()]
    norms = [np.linalg.norm(m.numpy(), 2) for m in matrices]
    stable = [
        float((m**2).sum()) / norm**2 / min(m.shape)
        for m, norm in zip(matrices, norms, strict=True)
        if min(m.shape) > 1
    ]
    measured = of_weights(model)
    assert measured["biggest_spectral_norm"].value == pytest.approx(max(norms))
    assert measured["stable_rank_min"].value == pytest.approx(min(stable))


def test_large_matrices_are_estimated() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(1100, 1050, dtype=torch.float64)
    exact = float(torch.linalg.matrix_norm(matrix, ord=2))
    assert weights.spectral_norm(matrix) == pytest.approx(exact, rel=0.02)
    assert weights.spectral_norm(1e-200 * matrix) == pytest.approx(1e-200 * exact, rel=0.02)


def twins_by_loop(rows: list[list[float]]) -> list[bool]:
    def equal(a: list[float], b: list[float]) -> bool:
        largest = max(abs(x) for x in (*a, *b))
        return all(abs(x - y) <= 1e-6 * largest for x, y in zip(a, b, strict=True))

    return [any(equal(a, b) for j, b in enumerate(rows) if i != j) for i, a in enumerate(rows)]


def test_twin_units_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    for case in range(20):
        weight = torch.randn((12, 5), generator=generator, dtype=torch.float64)
        bias = torch.randn(12, generator=generator, dtype=torch.float64)
        copies = torch.randint(12, (case % 7,), generator=generator)
        weight[: len(copies)], bias[: len(copies)] = weight[copies], bias[copies]
        weight[3] *= 1 + (3e-7 if case % 2 else 3e-5)
        weight[10:] = 0
        bias[10:] = 0.0 if case % 3 else 1.0
        layer = weights.Matrix("layer", weight, 5, bias, units=True)
        rows = [[*w, b] for w, b in zip(weight.tolist(), bias.tolist(), strict=True)]
        assert weights.twin_units(layer).tolist() == twins_by_loop(rows)


def test_symmetric_units_are_counted_in_layers_and_attention() -> None:
    model = make_head()
    with torch.no_grad():
        model.state_linear.fc1.weight.fill_(0.01)
        model.state_linear.fc1.bias.zero_()
        model.cross.in_proj_weight[16:20] = model.cross.in_proj_weight[16]
    measured = of_weights(model)
    assert measured["symmetric_units.worst"].value == 1
    rows = measured["symmetric_units"].n
    assert rows == 16 * 12  # three layers in each stack but the last one's output, and attention's four
    assert measured["symmetric_units"].value == pytest.approx((16 + 4) / rows)
    # equal weights with other biases are other units
    with torch.no_grad():
        model.state_linear.fc1.bias.copy_(torch.arange(16.0))
    assert of_weights(model)["symmetric_units"].value == pytest.approx(4 / rows)


class Assorted(nn.Module):
    """Every kind of weight, some of it twice, some of it computed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(9, 4)
        self.tied = nn.Linear(4, 9, bias=False)
        self.tied.weight = self.table.weight
        self.conv = nn.Conv1d(ACTION, 6, 2)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(CONTEXT, 5))
        self.bilinear = nn.Bilinear(5, 6, 4)
        self.free = nn.Parameter(torch.zeros(3, 4))
        self.temperature = nn.Parameter(torch.zeros(1, 1))
        self.recurrent = nn.GRUCell(4, 2)

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None = None) -> Tensor:
        acted = self.conv(actions.transpose(1, 2)).mean(dim=2)
        inner = self.bilinear(self.normed(pooled(hidden, mask)), acted)
        return (self.tied(inner) + self.recurrent(inner).sum(dim=1, keepdim=True)).sum(dim=1) * self.temperature.exp()


def test_every_kind_of_weight_counts_once() -> None:
    model = Assorted()
    with torch.no_grad():
        model.normed.parametrizations.weight.original0 *= 7
    layers = {n.removeprefix("rms_relative.layer."): m.value for n, m in of_weights(model).items() if ".layer." in n}
    assert set(layers) == {
        "table", "conv", "normed", "bilinear", "model.free", "recurrent.weight_ih", "recurrent.weight_hh"
    }  # fmt: skip
    assert layers["table"] == pytest.approx(math.sqrt(3 * float(model.table.weight.detach().square().mean())))
    assert layers["conv"] == pytest.approx(1, rel=0.3)
    assert layers["bilinear"] == pytest.approx(1, rel=0.3)
    assert layers["normed"] == pytest.approx(7, rel=0.3)
    assert of_weights(model)["zero_layers"].value == pytest.approx(1 / 7)


def test_broken_weights_are_counted_and_left_out() -> None:
    model = make_head()
    given = evidence(model)
    with torch.no_grad():
        model.state_linear.fc1.weight[0, 0] = float("nan")
        model.state_linear.fc1.bias[0] = float("inf")
    answer = weights.PROBE.measure(given)
    measured = {m.name: m.value for m in answer.measurements}
    assert measured["weights.nonfinite"] == pytest.approx(2 / sum(p.numel() for p in model.parameters()))
    assert "NaN" in {s.name: s.reason for s in answer.skipped}["weights.rms_relative.layer.state_linear.fc1"]
    assert "weights.rms_relative.layer.state_linear.fc1" not in measured
    assert all(math.isfinite(value) for value in measured.values())


class Parameterless(nn.Module):
    """Nothing to train."""

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        return (hidden[:, 0, :ACTION] * actions[:, 0]).sum(dim=1)


class Vectors(nn.Module):
    """Parameters, but no matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(ACTION))

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        return (hidden[:, 0, :ACTION] * self.scale * actions[:, 0]).sum(dim=1)


def test_models_without_weights_are_skipped_with_the_reason() -> None:
    assert "no parameters" in reasons(weights, evidence(Parameterless()))["weights"]
    assert "no layer" in reasons(weights, evidence(Vectors()))["weights.rms_relative"]
    assert "4 units" in reasons(weights, evidence(Einsum()))["weights.symmetric_units"]


# Layers that training never reached


def fresh_by_loop(numbers: list[float]) -> bool:
    """The three conditions as the probe's page tells them, number by number."""
    n, ordered = len(numbers), sorted(numbers)
    if max(abs(u) for u in numbers) > 1.002 or max(abs(u) for u in numbers) < 1 - 10 / n:
        return False
    distances = []
    for i, u in enumerate(ordered):
        below = (min(max(u, -1.0), 1.0) + 1) / 2
        distances += [(i + 1) / n - below, below - i / n]
    return max(distances) <= 2.2 / math.sqrt(n)


def test_fresh_numbers_against_a_loop() -> None:
    generator, told = torch.Generator().manual_seed(0), []
    for case in range(60):
        drawn = torch.rand(20 + 30 * case, generator=generator, dtype=torch.float64) * 2 - 1
        drawn *= (1.0, 1.0, 0.9, 1.05, 1.001)[case % 5]
        if case % 4 == 1:
            drawn += 0.05 * torch.randn(drawn.shape, generator=generator, dtype=torch.float64)
        if case % 7 == 2:
            drawn = drawn.abs() ** 2
        told.append(untouched.is_fresh(drawn))
        assert told[-1] == fresh_by_loop(drawn.tolist())
    assert {True, False} == set(told)


def reached(model: nn.Module) -> dict[str, bool]:
    return {layer.name: not layer.untouched for layer in untouched.layers(model)}


class Several(nn.Module):
    """Layers of every kind whose fresh weights are known, and others."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.bare = nn.Linear(40, 30), nn.Linear(40, 30, bias=False)
        self.conv, self.turned = nn.Conv1d(12, 18, 5, groups=2), nn.ConvTranspose1d(12, 16, 5)
        self.bilinear = nn.Bilinear(10, 12, 8)
        self.attention = nn.MultiheadAttention(24, 4)
        self.layer_norm, self.batch_norm = nn.LayerNorm(6), nn.BatchNorm1d(6)
        self.group_norm, self.plain = nn.GroupNorm(2, 6), nn.LayerNorm(6, elementwise_affine=False)
        self.table, self.small, self.free = nn.Embedding(50, 20), nn.Linear(20, 20), nn.Parameter(torch.rand(40, 40))


KNOWN = {
    *("linear", "bare", "conv", "turned", "bilinear"),
    *("attention.query", "attention.key", "attention.value", "attention.out_proj"),
    *("layer_norm", "batch_norm", "group_norm"),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_layers_as_pytorch_draws_them_are_untouched(dtype: torch.dtype) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        assert reached(Several().to(dtype)) == dict.fromkeys(KNOWN, False)


def test_a_small_layer_tells_only_that_it_was_changed() -> None:
    torch.manual_seed(0)
    model = Several()
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.add_(0.3 * parameter.abs().max() * torch.randn(parameter.shape))
    assert reached(model) == dict.fromkeys({*KNOWN, "small"}, True)


@pytest.mark.parametrize("layer", ["linear", "attention.out_proj", "layer_norm", "attention.key"])
def test_a_changed_bias_is_enough(layer: str) -> None:
    torch.manual_seed(0)
    model = Several()
    with torch.no_grad():
        if layer == "attention.key":
            model.attention.in_proj_bias[24:48] += 0.01 * torch.randn(24)
        else:
            bias = model.get_submodule(layer).bias
            assert isinstance(bias, Tensor)
            bias += 0.2 * torch.randn(bias.shape)
    assert reached(model) == {name: name == layer for name in KNOWN}


def test_zero_biases_shrunk_and_other_weights() -> None:
    torch.manual_seed(0)
    model = Several()
    with torch.no_grad():
        model.linear.bias.zero_()
        model.bare.weight *= 0.97  # as decay leaves it
        model.conv.weight.normal_(std=0.05)
        model.turned.weight[0, 0, 0] = float("nan")
    assert not reached(model)["linear"]
    assert reached(model)["bare"]
    assert reached(model)["conv"]
    assert "turned" not in reached(model)


def test_the_shares_of_untouched_layers_and_what_is_said_of_them() -> None:
    torch.manual_seed(0)
    model = CrossAttentionEnergy(CONTEXT, ACTION, hidden=32, nhead=2, head="linear")
    given = evidence(model)
    assert judged(given)[UNTRAINED].severity == "critical"
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "action_linear" not in name:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    measured = {m.name: m for m in untouched.PROBE.measure(given).measurements}
    found = list(untouched.layers(model))
    fresh = [layer for layer in found if layer.untouched]
    assert {layer.name.split(".")[0] for layer in fresh} == {"action_linear"}
    assert measured["weights.untouched_fraction"].value == len(fresh) / len(found)
    share = sum(layer.entries for layer in fresh) / sum(layer.entries for layer in found)
    assert measured["weights.untouched_fraction.entries"].value == pytest.approx(share)
    assert measured["weights.untouched.layer.action_linear.fc2"].value == 1
    assert measured["weights.untouched.layer.prediction_head.fc2"].value == 0
    assert judged(given)[UNTRAINED].severity == "warning"


def judged(given: Evidence) -> dict[str, Finding]:
    return {f.code: f for f in judge(untouched.PROBE.measure(given).measurements, select=(UNTRAINED,)).findings}


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("healthy.safetensors", None),
        ("original.pt", "original"),
        ("rescaled.safetensors", None),
        ("inverted.pt", "linear"),
    ],
)
def test_the_samples_are_trained_throughout(name: str, head: str | None) -> None:
    path = Path(__file__).parent.parent / "sample_checkpoints" / name
    assert set(reached(load_checkpoint(path, head=head, nhead=None if head is None else 4).module).values()) == {True}


def test_without_known_layers_there_is_a_reason() -> None:
    why = reasons(untouched, evidence(Einsum()))
    assert "no layer whose fresh weights are known" in why["weights.untouched_fraction"]


# Findings


@pytest.mark.parametrize("head", ["linear", "original", "rescaled-per-step", "softplus"])
def test_fresh_heads_have_no_finding(head: str) -> None:
    assert found(make_head(head)) == {}


def test_fresh_networks_have_no_finding() -> None:
    for first, second in itertools.product((torch.tanh, torch.relu, functional.gelu, torch.sigmoid), repeat=2):
        assert found(Net(first, second)) == {}


def test_each_fault_is_found() -> None:
    assert found(Net(torch.tanh, torch.tanh, scale=100.0))["ED105"].severity in {"warning", "critical"}
    dead = Net(torch.relu, torch.relu)
    with torch.no_grad():
        dead.two.bias.fill_(-50.0)
    assert found(dead, make_batch(160))["ED106"].severity == "critical"
    constant = ConcatMLP()
    with torch.no_grad():
        for parameter in constant.parameters():
            parameter.fill_(0.01)
    assert found(constant)["ED305"].severity == "critical"
    assert found(constant)["ED306"].explained_by == "ED305"
    assert set(found(Einsum(rank=1))) == {"ED306"}
    for factor, code in ((1e-3, "ED307"), (1e3, "ED308")):
        scaled = make_head("linear")
        with torch.no_grad():
            scaled.prediction_head.fc1.weight *= factor
        assert set(found(scaled)) == {code}
