"""What is said of the data alone, against loops over single samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from parts import ACTION, CONTEXT, STEPS, TOKENS, make_batch, make_head
from torch import Tensor

from energydiag.batch import Batch
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.structured import shifted
from energydiag.probes import Evidence, MeasuringSettings, duplicates
from energydiag.probes import data as probe
from energydiag.probes.data import data_answer, overlap_errors
from energydiag.probes.duplicates import context_keys, numbered, repeats
from energydiag.results import Measurement
from energydiag.rules import judge

SAMPLES = 20


def measure(batch: Batch, seed: int = 0) -> dict[str, Measurement]:
    return {m.name.removeprefix("data."): m for m in data_answer(batch, seed).measurements}


def skipped(batch: Batch) -> dict[str, str]:
    return {s.name.removeprefix("data."): s.reason for s in data_answer(batch, 0).skipped}


def recorded(episodes: int = 6, length: int = 30, stride: int = 2, error: float = 0.05) -> Batch:
    """Chunks cut from recordings, a sample every ``stride`` steps, with a policy that errs a little."""
    generator = torch.Generator().manual_seed(0)
    chunks, episode, step = [], [], []
    for number in range(episodes):
        track = torch.randn(length + STEPS, ACTION, generator=generator).cumsum(dim=0) * 0.3
        for t in range(0, length, stride):
            chunks.append(track[t : t + STEPS])
            episode.append(number)
            step.append(t)
    actions = torch.stack(chunks)
    policy = actions + error * torch.randn(actions.shape, generator=generator)
    hidden = torch.randn(len(actions), TOKENS, CONTEXT, generator=generator)
    return Batch(
        hidden, actions, policy_actions=policy, episode=torch.tensor(episode), step=torch.tensor(step, dtype=torch.long)
    )


def test_sizes_and_shares_of_broken_samples() -> None:
    batch = make_batch(SAMPLES)
    hidden, actions = batch.hidden.clone(), batch.actions.clone()
    hidden[3, 1, 2], actions[7, 0, 0] = torch.nan, torch.inf
    assert batch.pad_mask is not None
    mask = batch.pad_mask.clone()
    mask[5] = True
    found = measure(replace(batch, hidden=hidden, actions=actions, pad_mask=mask))
    named = {"samples": SAMPLES, "episodes": SAMPLES / 2, "steps": STEPS, "action_dimensions": ACTION}
    assert {name: found[name].value for name in named} == named
    assert found["context_tokens"].value == TOKENS
    assert found["nonfinite_fraction"].value == pytest.approx(2 / SAMPLES)
    assert found["all_padded_fraction"].value == pytest.approx(1 / SAMPLES)
    assert found["padding_fraction"].value == pytest.approx(np.mean([bool(t) for row in mask for t in row]))
    assert found["policy_error"].n == SAMPLES - 3  # broken samples are in no other number


def test_a_dump_of_broken_samples_alone() -> None:
    batch = make_batch(4)
    broken = replace(batch, hidden=batch.hidden * torch.nan)
    assert measure(broken)["nonfinite_fraction"].value == 1
    assert "no sample can be used" in skipped(broken)["policy_error"]


def test_false_negatives_against_a_loop() -> None:
    batch = make_batch(SAMPLES)
    actions = 0.2 * batch.actions
    batch = replace(batch, actions=actions, policy_actions=actions + 0.2 * torch.randn(actions.shape))
    assert batch.policy_actions is not None
    errors = [float((batch.policy_actions[i] - actions[i]).abs().mean()) for i in range(SAMPLES)]
    radius = np.mean(errors)
    near = [
        float((actions[i] - actions[j]).abs().mean()) < radius for i in range(SAMPLES) for j in range(SAMPLES) if i != j
    ]
    found = measure(batch)
    assert found["policy_error"].value == pytest.approx(radius)
    assert found["policy_error"].unit == "action"
    assert found["false_negative_rate"].value == pytest.approx(np.mean(near))
    assert 0 < found["false_negative_rate"].value < 1


def test_many_samples_are_paired_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "MOST_PAIRED", 8)
    assert measure(make_batch(SAMPLES))["false_negative_rate"].n == 8


def doubled(batch: Batch) -> Batch:
    """Every sample twice, in other episodes."""
    both = batch.take(torch.arange(len(batch)).repeat(2))
    return replace(both, episode=torch.arange(2 * len(batch)))


def oracle_keys(batch: Batch) -> list[bytes]:
    """Bytes of the visible tokens with their places."""
    assert batch.pad_mask is not None
    return [
        b"".join(bytes([t]) + context[t].numpy().tobytes() for t in range(TOKENS) if not mask[t])
        for context, mask in zip(batch.hidden, batch.pad_mask.tolist(), strict=True)
    ]


def test_duplicates_against_a_loop() -> None:
    batch = doubled(make_batch(SAMPLES))
    actions = batch.actions.clone()
    actions[SAMPLES : SAMPLES + 5] += 1e-6  # near is not the same
    batch = replace(batch, actions=actions)
    found = measure(batch)
    keys = oracle_keys(batch)
    together = [key + action.numpy().tobytes() for key, action in zip(keys, actions, strict=True)]
    for name, of in (("duplicate_contexts", keys), ("duplicate_rate", together)):
        again = [of[i] in of[:i] for i in range(len(of))]
        assert found[name].value == pytest.approx(np.mean(again))
    keys_of = list(zip(keys, [action.numpy().tobytes() for action in actions], strict=True))
    shared = [
        np.mean([one[1] == other[1] and one[0] != other[0] for j, other in enumerate(keys_of) if j != i])
        for i, one in enumerate(keys_of)
    ]
    assert found["repeated_actions"].value == pytest.approx(np.mean(shared))
    assert found["duplicate_contexts"].value == 0.5
    assert found["duplicate_rate"].value == pytest.approx((SAMPLES - 5) / (2 * SAMPLES))


def test_garbage_in_hidden_tokens_does_not_make_another_context() -> None:
    batch = doubled(make_batch(SAMPLES))
    assert batch.pad_mask is not None
    hidden = torch.where(batch.pad_mask[:, :, None], torch.randn(batch.hidden.shape), batch.hidden)
    assert measure(replace(batch, hidden=hidden))["duplicate_rate"].value == 0.5
    mask = batch.pad_mask.clone()
    mask[0, 0] = True
    assert measure(replace(batch, pad_mask=mask))["duplicate_rate"].value == pytest.approx(
        (SAMPLES - 1) / (2 * SAMPLES)
    )


def test_contexts_that_agree_at_a_glance_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "GLIMPSE", 3)
    hidden = torch.zeros(4, TOKENS, CONTEXT)
    hidden[1, 2, 5] = 1
    hidden[3, 2, 5] = 1
    keys = context_keys(Batch(hidden, torch.zeros(4, STEPS, ACTION)))
    assert numbered(keys).tolist() == [0, 1, 0, 1]
    assert repeats(numbered(keys)).tolist() == [False, False, True, True]


def test_few_contexts_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    whole = duplicates._whole_key
    monkeypatch.setattr(duplicates, "_whole_key", lambda batch, i: read.append(i) or whole(batch, i))
    batch = make_batch(SAMPLES)
    context_keys(batch.take(torch.tensor([*range(SAMPLES), 3])))
    assert read == [3, SAMPLES]


def test_repeats_against_a_loop() -> None:
    keys = [bytes([n]) for n in np.random.default_rng(0).integers(0, 6, 30)]
    assert repeats(numbered(keys)).tolist() == [key in keys[:i] for i, key in enumerate(keys)]


def test_scales_of_action_dimensions_against_numpy() -> None:
    batch = make_batch(SAMPLES)
    actions = batch.actions * torch.tensor([1.0, 5.0, 0.0]) + torch.tensor([0.0, 100.0, 3.0])
    found = measure(replace(batch, actions=actions))
    assert found["constant_dimensions"].value == 1
    deviation = [actions[:, :, d].double().numpy().std() for d in range(2)]
    assert found["dimension_scale_ratio"].value == pytest.approx(max(deviation) / np.median(deviation), rel=1e-6)
    assert found["dimension_scale_ratio"].ci95 is not None


def test_actions_that_never_change() -> None:
    constant = replace(make_batch(SAMPLES), actions=torch.full((SAMPLES, STEPS, ACTION), 0.1))
    assert measure(constant)["constant_dimensions"].value == ACTION
    assert "every dimension is constant" in skipped(constant)["dimension_scale_ratio"]


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_scales_of_the_context_against_numpy(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_TABLE_BYTES", rows * 8 * TOKENS * CONTEXT)
    batch = make_batch(SAMPLES)
    hidden = batch.hidden * torch.linspace(1, 9, CONTEXT)
    assert batch.pad_mask is not None
    seen = hidden[~batch.pad_mask].double().numpy()
    hidden[batch.pad_mask] = 1e6  # hidden values do not count
    found = measure(replace(batch, hidden=hidden))
    assert found["context_rms"].value == pytest.approx(np.sqrt(np.mean(seen**2)))
    deviation = seen.std(axis=0)
    assert found["context_scale_ratio"].value == pytest.approx(deviation.max() / np.median(deviation))


def test_a_context_without_scale() -> None:
    hidden = torch.zeros(SAMPLES, TOKENS, CONTEXT)
    assert "constant" in skipped(replace(make_batch(SAMPLES), hidden=hidden))["context_scale_ratio"]


def pairs_apart(batch: Batch) -> list[float]:
    """What neighbours of an episode tell differently, by hand."""
    assert batch.episode is not None
    assert batch.step is not None
    found = []
    for i in range(len(batch)):
        later = [
            (int(batch.step[j] - batch.step[i]), j)
            for j in range(len(batch))
            if batch.episode[j] == batch.episode[i] and batch.step[j] > batch.step[i]
        ]
        if not later or min(later)[0] >= STEPS:
            continue
        lag, j = min(later)
        shared = range(STEPS - lag)
        found.append(np.mean([float((batch.actions[i, lag + k] - batch.actions[j, k]).abs().mean()) for k in shared]))
    return found


def test_overlap_against_a_loop() -> None:
    batch = recorded(stride=2)
    batch = batch.take(torch.randperm(len(batch), generator=torch.Generator().manual_seed(1)))
    assert measure(batch)["chunk_overlap_error"].value == 0
    moved = replace(batch, actions=batch.actions + torch.randn(batch.actions.shape))
    assert moved.episode is not None
    assert moved.step is not None
    by_hand = pairs_apart(moved)
    error = overlap_errors(moved.actions, moved.episode, moved.step)
    assert np.nanmean(error) == pytest.approx(np.mean(by_hand))
    assert np.isfinite(error).sum() == len(by_hand)
    spread = np.sqrt(np.mean([moved.actions[:, :, d].double().numpy().var() for d in range(ACTION)]))
    assert measure(moved)["chunk_overlap_error"].value == pytest.approx(np.mean(by_hand) / spread)


def test_a_step_that_counts_something_else_than_the_chunk() -> None:
    batch = recorded(stride=2)
    assert batch.step is not None
    assert measure(replace(batch, step=batch.step // 2))["chunk_overlap_error"].value > 0.1


@pytest.mark.parametrize("side", ["late", "early"])
def test_a_chunk_that_is_moved_by_one_step(side: str) -> None:
    batch = recorded()
    right = measure(batch)
    assert right["chunk_misalignment"].ci95 is not None
    assert right["chunk_misalignment"].ci95[1] < 0
    found = measure(replace(batch, actions=shifted(batch.actions, 1 if side == "late" else -1)))
    assert found["chunk_misalignment"].value == found[f"chunk_misalignment.{side}"].value
    assert found["chunk_misalignment"].ci95 is not None
    assert found["chunk_misalignment"].ci95[0] > 0.5


def standardized(values: Tensor) -> np.ndarray:
    plain = values.double().numpy()
    return np.stack([(plain[:, :, d] - plain[:, :, d].mean()) / plain[:, :, d].std() for d in range(ACTION)], axis=2)


def test_misalignment_against_a_loop() -> None:
    batch = recorded(error=0.5)
    assert batch.policy_actions is not None
    policy, expert = standardized(batch.policy_actions), standardized(batch.actions)

    def error(places: range, by: int) -> float:
        pairs = [(policy[i, t], expert[i, t + by]) for i in range(len(batch)) for t in places]
        return float(np.mean([np.abs(own - other).mean() for own, other in pairs]))

    found = measure(batch)
    late, early = range(STEPS - 1), range(1, STEPS)
    assert found["chunk_misalignment.late"].value == pytest.approx(1 - error(late, 1) / error(late, 0))
    assert found["chunk_misalignment.early"].value == pytest.approx(1 - error(early, -1) / error(early, 0))


def test_lag_against_plain_least_squares() -> None:
    batch = long_chunks()
    assert batch.policy_actions is not None
    policy, expert = standardized(batch.policy_actions), standardized(batch.actions)
    inner = range(2, expert.shape[1] - 2)
    rows = [(i, t, d) for i in range(len(batch)) for t in inner for d in range(ACTION)]
    moved = np.array([[expert[i, t + s, d] for s in range(-2, 3)] for i, t, d in rows])
    weights = np.linalg.lstsq(moved, np.array([policy[row] for row in rows]), rcond=None)[0]
    wanted = float((weights * np.arange(-2, 3)).sum() / weights.sum())
    found = measure(batch)
    assert found["chunk_lag"].value == pytest.approx(wanted, abs=1e-4)
    beyond = weights[3 + 1 :].sum() if wanted > 0 else weights[:1].sum()
    assert found["chunk_lag.between"].value == pytest.approx(float((weights[2] - beyond) / weights.sum()), abs=1e-4)


def long_chunks(by: int = 0) -> Batch:
    """Chunks of eight steps from recordings; the expert's begins ``by`` steps later than the policy's."""
    generator = torch.Generator().manual_seed(0)
    tracks = torch.randn(30, 60, ACTION, generator=generator).cumsum(dim=1) * 0.3
    starts = [(e, t) for e in range(30) for t in range(3, 45, 6)]
    expert = torch.stack([tracks[e, t + by : t + by + 8] for e, t in starts])
    policy = torch.stack([tracks[e, t : t + 8] for e, t in starts])
    policy = policy + 0.1 * torch.randn(policy.shape, generator=generator)
    episode = torch.tensor([e for e, _ in starts])
    return Batch(
        torch.randn(len(expert), 2, CONTEXT, generator=generator), expert, policy_actions=policy, episode=episode
    )


def said(batch: Batch) -> list[str]:
    return [f.code for f in judge(list(data_answer(batch, 0).measurements), select=("ED608",)).findings]


@pytest.mark.parametrize("by", [1, -1])
def test_a_shifted_chunk_is_found_in_whatever_units(by: int) -> None:
    batch = long_chunks(by)
    assert said(batch) == ["ED608"]
    lag = measure(batch)["chunk_lag"]
    assert lag.value == pytest.approx(-by, abs=0.1)
    assert batch.policy_actions is not None
    other = batch.policy_actions * torch.tensor([3.0, -0.1, 50.0]) + 7
    assert said(replace(batch, policy_actions=other)) == ["ED608"]


def smoothed(actions: Tensor) -> Tensor:
    return (shifted(actions, 1) + actions + shifted(actions, -1)) / 3


def lagging(share: float) -> Callable[[Tensor], Tensor]:
    return lambda actions: (1 - share) * actions + share * shifted(actions, 1)


def filtered(actions: Tensor) -> Tensor:
    found = [actions[:, 0]]
    for t in range(1, actions.shape[1]):
        found.append(0.5 * found[-1] + 0.5 * actions[:, t])
    return torch.stack(found, dim=1)


@pytest.mark.parametrize(
    "policy",
    [smoothed, lagging(0.3), lagging(0.5), lagging(0.7), filtered, lambda a: a * torch.tensor([3.0, 0.1, -50.0]) + 7],
    ids=["smooth", "lag .3", "lag .5", "lag .7", "filtered", "units"],
)
def test_a_policy_that_is_smooth_lags_or_has_other_units_is_no_shifted_chunk(
    policy: Callable[[Tensor], Tensor],
) -> None:
    batch = long_chunks()
    noise = 0.05 * torch.randn(batch.actions.shape, generator=torch.Generator().manual_seed(1))
    assert said(replace(batch, policy_actions=policy(batch.actions) + noise)) == []


@pytest.mark.parametrize(
    ("change", "names", "reason"),
    [
        (
            {"policy_actions": None},
            ("policy_error", "false_negative_rate", "chunk_misalignment", "chunk_lag"),
            "no `policy_actions`",
        ),
        ({"step": None}, ("chunk_overlap_error",), "no `step`"),
        ({"episode": None}, ("chunk_overlap_error",), "no `episode`"),
        ({"step": torch.arange(90) * STEPS}, ("chunk_overlap_error",), "less than a chunk apart"),
    ],
    ids=["policy", "step", "episode", "far apart"],
)
def test_what_the_dump_lacks_is_skipped(change: dict[str, Tensor | None], names: tuple[str, ...], reason: str) -> None:
    batch = replace(recorded(), **change)  # type: ignore[arg-type]
    for name in names:
        assert reason in skipped(batch)[name]
        assert name not in measure(batch)


def test_actions_without_steps_and_a_pooled_context() -> None:
    batch = recorded()
    assert batch.policy_actions is not None
    flat = replace(
        batch, hidden=batch.hidden[:, 0], actions=batch.actions[:, 0], policy_actions=batch.policy_actions[:, 0]
    )
    assert {"chunk_misalignment", "chunk_overlap_error"} <= skipped(flat).keys()
    found = measure(flat)
    assert found["context_rms"].value == pytest.approx(float(flat.hidden.square().mean().sqrt()))
    assert (found["steps"].value, found["context_tokens"].value) == (1, 1)


def test_a_policy_that_is_the_expert() -> None:
    batch = recorded()
    perfect = replace(batch, policy_actions=batch.actions)
    assert "exactly what the expert does" in skipped(perfect)["chunk_misalignment"]
    assert measure(perfect)["false_negative_rate"].value == 0


def test_rows_that_lie_elsewhere_and_half_precision_give_the_same() -> None:
    batch = doubled(make_batch(SAMPLES))
    order = torch.arange(len(batch)).roll(1)
    elsewhere = batch.take(order).select(torch.argsort(order))
    assert data_answer(elsewhere, 0) == data_answer(batch, 0)
    half = replace(batch, hidden=batch.hidden.to(torch.bfloat16))
    assert measure(half)["duplicate_rate"] == measure(batch)["duplicate_rate"]


def test_averages_have_intervals_and_the_probe_says_the_same() -> None:
    batch = recorded()
    found = measure(batch)
    counts = {"samples", "episodes", "steps", "action_dimensions", "context_tokens", "constant_dimensions"}
    counts.add("distinct_actions")
    shares_of_the_dump = {"nonfinite_fraction", "all_padded_fraction", "context_scale_ratio"}
    for name, measurement in found.items():
        assert (measurement.ci95 is None) == (name in counts | shares_of_the_dump), name
        assert (measurement.unit == "count") == (name in counts), name
    given = Evidence(EnergyFunction(make_head(), "test"), batch, batch, MeasuringSettings(swap_size=6))
    by_probe = probe.PROBE.measure(given).measurements
    assert by_probe == data_answer(batch, 0).measurements
