"""The published forms of the head: what each computes, what it is called, and what older metadata meant by its name."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parts import ACTION, CONTEXT, make_batch
from torch import Tensor
from torch.nn import functional

from energydiag.errors import UsageError
from energydiag.heads import ALL_FORMS, PUBLISHED, HeadActivation, HeadForm, head_form, stated_form
from energydiag.models.cross_attention import CrossAttentionEnergy
from energydiag.models.energy_head import activate

NHEAD, WIDTH = 4, 16


def sigmoid(r: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-r))


def softplus(r: Tensor) -> Tensor:
    return torch.log(1 + torch.exp(r))


def clipped(r: Tensor) -> Tensor:
    return 30 * torch.tanh(r / 30)


Head = Callable[[Tensor], Tensor]

# the table of published forms, written down once more: features [H, W] and the prediction head to an energy
INDEPENDENT: dict[str, Callable[[Tensor, Head], Tensor]] = {
    "original": lambda z, head: sigmoid(head(sum(z) / len(z))) + 1e-6,
    "rescaled": lambda z, head: 2 * sigmoid(0.5 * head(sum(z) / len(z))) + 0.1,
    "softplus": lambda z, head: softplus(head(sum(z) / len(z))) + 1e-6,
    "softplus-clipped": lambda z, head: softplus(clipped(head(sum(z) / len(z)))) + 1e-6,
    "original-clipped": lambda z, head: sigmoid(clipped(head(sum(z) / len(z)))) + 1e-6,
    "linear-features": lambda z, head: head(sum(z) / len(z)),
    "original-raw": lambda z, head: sigmoid(sum(head(one) for one in z) / len(z)) + 1e-6,
    "original-per-step": lambda z, head: sum(sigmoid(head(one)) + 1e-6 for one in z) / len(z),
    "rescaled-per-step": lambda z, head: sum(2 * sigmoid(0.5 * head(one)) + 0.1 for one in z) / len(z),
    "linear": lambda z, head: sum(head(one) for one in z) / len(z),
}


class Loops:
    """The whole head for one sample in float64, token by token and head by head, from its state dict alone."""

    def __init__(self, state: dict[str, Tensor], form: str) -> None:
        self.state = {key: value.double() for key, value in state.items()}
        self.end = INDEPENDENT[form]

    def norm(self, x: Tensor, key: str) -> Tensor:
        mean = sum(x) / len(x)
        variance = sum((x - mean) ** 2) / len(x)
        return (x - mean) / torch.sqrt(variance + 1e-5) * self.state[f"{key}.weight"] + self.state[f"{key}.bias"]

    def linear(self, x: Tensor, key: str) -> Tensor:
        return self.state[f"{key}.weight"] @ x + self.state[f"{key}.bias"]

    def stack(self, x: Tensor, name: str) -> Tensor:
        x = self.linear(self.norm(x, f"{name}.layer_norm1"), f"{name}.fc1")
        x = x * sigmoid(x)
        inner = self.linear(self.norm(x, f"{name}.mlp_resnet_blocks.0.ffn.0"), f"{name}.mlp_resnet_blocks.0.ffn.1")
        x = x + inner * sigmoid(inner)
        return self.linear(self.norm(x, f"{name}.layer_norm2"), f"{name}.fc2")

    def energy(self, hidden: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        context = [self.stack(token, "state_linear") for token, hide in zip(hidden, mask, strict=True) if not hide]
        features = []
        for step, action in enumerate(actions):
            place = [step / 10_000 ** (2 * (i // 2) / WIDTH) for i in range(WIDTH)]
            code = torch.tensor([math.cos(p) if i % 2 else math.sin(p) for i, p in enumerate(place)])
            features.append(self.attend(self.stack(action, "action_linear") + code.double(), context))
        return self.end(torch.stack(features), lambda z: self.stack(z, "prediction_head")[0])

    def attend(self, query: Tensor, context: list[Tensor]) -> Tensor:
        weight, bias = self.state["cross.in_proj_weight"], self.state["cross.in_proj_bias"]
        (wq, wk, wv), (bq, bk, bv) = weight.chunk(3), bias.chunk(3)
        mixed = []
        for rows in torch.arange(WIDTH).chunk(NHEAD):
            q = wq[rows] @ query + bq[rows]
            scores = torch.stack([q @ (wk[rows] @ token + bk[rows]) / math.sqrt(len(rows)) for token in context])
            share = torch.exp(scores - scores.max())
            values = [wv[rows] @ token + bv[rows] for token in context]
            mixed.append(sum(s * v for s, v in zip(share / share.sum(), values, strict=True)))
        return self.linear(torch.cat(mixed), "cross.out_proj")


def wild_head(form: HeadForm | str, seed: int = 0, scale: float = 2.5) -> CrossAttentionEnergy:
    """A head with weights at which most forms differ by more than a hundredth of the energies' standard deviation."""
    torch.manual_seed(seed)
    model = CrossAttentionEnergy(CONTEXT, ACTION, hidden=WIDTH, nhead=NHEAD, head=form)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
        model.prediction_head.fc2.weight.mul_(3)
    return model.eval()


def test_every_published_form_is_in_the_independent_table() -> None:
    assert {form.name for form in PUBLISHED} == INDEPENDENT.keys()


@pytest.mark.parametrize("name", INDEPENDENT)
def test_forms_are_those_of_an_independent_head(name: str) -> None:
    model, batch = wild_head(name), make_batch(6)
    loops = Loops(model.state_dict(), name)
    assert batch.pad_mask is not None
    actions = batch.actions.double().requires_grad_(True)
    hidden = batch.hidden.double()
    expected = torch.stack([loops.energy(*row) for row in zip(hidden, actions, batch.pad_mask, strict=True)])
    (expected_gradient,) = torch.autograd.grad(expected.sum(), actions)
    plain = model(batch.hidden, batch.actions, batch.pad_mask).detach().double()
    torch.testing.assert_close(plain, expected.detach(), atol=1e-6, rtol=1e-5)  # float32, weights far from usual
    energy = model.double()(hidden, actions, batch.pad_mask)
    (gradient,) = torch.autograd.grad(energy.sum(), actions)
    torch.testing.assert_close(energy.detach(), expected.detach(), atol=1e-6, rtol=0)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=0)


def test_forms_differ_by_more_than_a_hundredth_of_the_spread() -> None:
    batch = make_batch(24)
    with torch.no_grad():
        found = {name: wild_head(name)(batch.hidden, batch.actions, batch.pad_mask) for name in INDEPENDENT}
    for name, energy in found.items():
        nearest = min(float((energy - other).abs().max()) for one, other in found.items() if one != name)
        if "clipped" not in name and name not in ("original", "softplus"):  # these have a clipped sibling
            assert nearest > 0.01 * float(energy.std()), name


@pytest.mark.parametrize("form", ALL_FORMS, ids=lambda form: form.name)
def test_a_form_is_found_again_by_its_name_its_settings_and_its_formula(form: HeadForm) -> None:
    assert head_form(form.name) == form
    assert stated_form(form.settings) == form
    assert head_form(form.activation.formula, form.pool) == form


NUMBERS = st.floats(1e-4, 1e4).map(lambda number: float(f"{number:.6g}"))


@given(
    st.sampled_from(["sigmoid", "softplus"]),
    NUMBERS,
    NUMBERS,
    NUMBERS | st.just(0.0),
    st.none() | NUMBERS,
    st.booleans(),
)
def test_any_formula_is_read_as_it_was_written(
    function: str, scale: float, inner: float, offset: float, clip: float | None, negative: bool
) -> None:
    activation = HeadActivation(function, scale, inner, -offset if negative else offset, clip)
    for pool in ("features", "raw", "energy"):
        form = head_form(activation.formula, pool)
        assert form.activation == activation
        assert stated_form(form.settings) == form


def test_what_stands_in_peoples_code_is_understood() -> None:
    assert head_form("sigmoid") == head_form("original")
    assert head_form("sigmoid", "raw").name == "original-raw"
    assert head_form("2 * sigmoid(0.5 * raw) + 0.1", "energy").name == "rescaled-per-step"
    assert head_form("linear", "energy") == head_form("linear", "raw") == head_form("identity")
    assert head_form("linear", "features").name == "linear-features"


@pytest.mark.parametrize(
    ("head", "pool", "told"),
    [
        ("square", None, "No head is called 'square'"),
        ("original", "mean", "--pool is features, raw, energy"),
        ("rescaled-per-step", "features", "averages the energies"),
        ("sigmoid(30*tanh(r/20))", None, "No head is called"),
        ("sigmoid(r", None, "No head is called"),
    ],
)
def test_what_is_no_head_is_said(head: str, pool: str | None, told: str) -> None:
    with pytest.raises(UsageError, match=told.replace("(", r"\(").replace("*", r"\*")):
        head_form(head, pool)


@pytest.mark.parametrize(
    ("name", "energy"),
    [
        ("original", lambda raw: torch.sigmoid(raw.mean(-1)) + 1e-6),
        ("rescaled", lambda raw: 2 * torch.sigmoid(0.5 * raw.mean(-1)) + 0.1),
        ("softplus", lambda raw: functional.softplus(raw.mean(-1)) + 1e-4),
        ("rescaled-per-step", lambda raw: (2 * torch.sigmoid(0.5 * raw) + 0.1).mean(-1)),
        ("linear", lambda raw: raw.mean(-1)),
    ],
)
def test_metadata_without_a_pooling_means_what_it_meant_when_it_was_written(
    name: str, energy: Callable[[Tensor], Tensor]
) -> None:
    form = stated_form({"head": name})
    assert form is not None
    model, batch = wild_head(form), make_batch(6)
    kept: list[Tensor] = []
    model.prediction_head.register_forward_hook(lambda _m, _i, raw: kept.append(raw.squeeze(-1)))
    with torch.no_grad():
        found = model(batch.hidden, batch.actions, batch.pad_mask)
    torch.testing.assert_close(found, energy(kept[0]))
    assert "pool" in form.settings


def test_a_soft_clip_bounds_a_softplus() -> None:
    ends = activate(head_form("softplus-clipped").activation, torch.tensor([-1e6, 1e6], dtype=torch.float64))
    assert float(ends[1] - ends[0]) == pytest.approx(30.0)
