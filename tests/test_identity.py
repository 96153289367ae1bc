"""The proof that the owner's model is measured: found by its energies, refused where they are another's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from parts import make_batch
from safetensors.torch import save_file
from test_head_forms import NHEAD, WIDTH, wild_head
from torch import Tensor, nn
from typer.testing import CliRunner

from energydiag.batch import Batch
from energydiag.cli.app import app
from energydiag.dump import BatchWriter
from energydiag.errors import InvalidBatch, InvalidCheckpoint, UsageError
from energydiag.heads import PUBLISHED, HeadForm, head_form
from energydiag.models.build import architectures
from energydiag.models.cross_attention import CrossAttentionEnergy
from energydiag.models.energy_function import EnergyFunction, Mask
from energydiag.models.identity import Identity, identify
from energydiag.models.model_form import Stated
from energydiag.monitor import Monitor
from energydiag.pipeline import (
    ModelOptions,
    RepairOptions,
    compare_checkpoints,
    inspect_checkpoint,
    inspect_many,
    load_checkpoint,
    repair_checkpoint,
)
from energydiag.plan import TrainingPlan

SAMPLES = 64
FORMS = architectures()["cross-attention"].forms


def head(form: HeadForm | str, nhead: int = NHEAD, seed: int = 0) -> CrossAttentionEnergy:
    model = wild_head(form, seed)
    model.cross.num_heads, model.cross.head_dim = nhead, WIDTH // nhead
    return model


def energies(model: nn.Module, batch: Batch, mask: Mask = "hidden") -> Tensor:
    """What the owner's code gives."""
    assert batch.pad_mask is not None
    given = {"hidden": batch.pad_mask, "visible": ~batch.pad_mask, "unused": None}
    with torch.no_grad():
        found: Tensor = model(batch.hidden, batch.actions, given[mask])
    return found


def found(model: nn.Module, batch: Batch, own: Tensor, stated: Stated | None = None) -> Identity:
    energy = EnergyFunction(model, "cross-attention")
    return identify(energy, replace(batch, energies=own), stated or Stated(), FORMS)


def save(batch: Batch, path: Path, own: Tensor | None = None, **more: object) -> Path:
    torch.save({**batch.present(), **({} if own is None else {"energies": own}), **more}, path)
    return path


def checkpoint(model: nn.Module, path: Path) -> Path:
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.parametrize(
    "form",
    [pytest.param(form, marks=pytest.mark.slow if number > 1 else ()) for number, form in enumerate(PUBLISHED)],
    ids=lambda form: form.name,
)
def test_every_form_head_count_and_mask_is_found_in_every_precision_of_the_dump(form: HeadForm) -> None:
    batch = make_batch(SAMPLES)
    for nhead in (2, 4, 8):
        model = head(form, nhead, seed=nhead)
        for mask in ("hidden", "visible", "unused"):
            own = energies(model, batch, mask)
            for dtype in (torch.float32, torch.bfloat16, torch.float16):
                identity = found(head("original", 1, seed=nhead), batch, own.to(dtype))
                told = f"{nhead} heads, mask {mask}, {dtype}: {identity}"
                assert identity.verdict == "same", told
                right = [one for one in (identity.best.form, *identity.tied) if one.head == form]
                assert [(one.nhead, one.mask) for one in right] == [(nhead, mask)], told
                for other in (identity.best.form, *identity.tied):
                    assert other.head is not None
                    again = energies(head(other.head, other.nhead or 0, seed=nhead), batch, other.mask)
                    # what is named beside it gives the same numbers to the precision in which they were stored
                    rounding = own.abs() * torch.finfo(dtype).eps + 2e-5 * own.std()
                    assert bool(((again - own).abs() <= rounding).all()), f"{told}: {other}"


def test_energies_of_another_checkpoint_fit_no_form() -> None:
    batch = make_batch(SAMPLES)
    for seed in range(8):
        identity = found(head("original"), batch, energies(head("original", seed=seed + 1), batch))
        assert identity.verdict == "different", identity


def test_energies_computed_in_another_precision_are_recognized() -> None:
    batch, model = make_batch(SAMPLES), head("original")
    half = head("original").bfloat16()
    with torch.no_grad():
        own = half(batch.hidden.bfloat16(), batch.actions.bfloat16(), batch.pad_mask)
        with torch.autocast("cpu", torch.bfloat16):
            cast = model(batch.hidden, batch.actions, batch.pad_mask)
    for precision, values in (("bfloat16", own), ("autocast bfloat16", cast.float())):
        identity = found(model, batch, values.float(), Stated(head=head_form("original"), nhead=NHEAD))
        assert identity.verdict == "same"
        assert identity.best.form.precision == precision


def test_energies_of_train_mode_are_recognized_by_what_passes_differ_by() -> None:
    batch, model = make_batch(SAMPLES), head("linear")
    for seed in range(4):
        torch.manual_seed(seed)
        own = energies(model.train(), batch)
        identity = found(model.eval(), batch, own)
        assert identity.verdict == "same"
        assert identity.best.form.train_mode
        assert head_form("linear") in {one.head for one in (identity.best.form, *identity.tied)}
        assert not model.training
    assert found(model, batch, energies(head("linear", seed=9), batch)).verdict == "different"


def test_between_one_and_five_percent_it_is_undetermined() -> None:
    batch, model = make_batch(SAMPLES), head("linear")
    own = energies(model, batch)
    own[::5] += 0.03 * own.std()
    identity = found(model, batch, own)
    assert identity.verdict == "undetermined"
    assert identity.best.form.head == head_form("linear")


def test_energies_that_do_not_differ_prove_nothing() -> None:
    batch, model = make_batch(SAMPLES), head("original")
    with torch.no_grad():
        for parameter in model.prediction_head.parameters():
            parameter.zero_()
    assert found(model, batch, energies(model, batch)).verdict == "undetermined"


# files


@pytest.fixture
def owned(tmp_path: Path) -> tuple[Path, Path, Batch]:
    """A checkpoint that tells nothing, a dump with its energies, and the batch."""
    batch, model = make_batch(SAMPLES), head("original", 8)
    dump = save(batch, tmp_path / "dump.pt", energies(model, batch))
    return checkpoint(model, tmp_path / "head_step10.pt"), dump, batch


def test_nothing_is_asked_where_energies_tell_it(owned: tuple[Path, Path, Batch]) -> None:
    path, dump, batch = owned
    diagnosis = inspect_checkpoint(path, dump, ModelOptions())
    facts = diagnosis.checkpoint
    assert (facts.identity, facts.head, facts.pool, facts.nhead) == ("same", "original", "features", 8)
    assert "the same model: largest difference" in facts.identity_told
    # the same numbers as with the right options, and another checkpoint's file that tells nothing is asked for them
    stated = inspect_checkpoint(path, save(batch, dump.parent / "plain.pt"), ModelOptions(head="original", nhead=8))
    assert stated.measurements == diagnosis.measurements
    with pytest.raises(UsageError, match="nhead"):
        inspect_checkpoint(path, dump.parent / "plain.pt", ModelOptions())


@pytest.mark.parametrize("options", [["--head", "rescaled"], ["--nhead", "4"], ["--pool", "raw", "--head", "sigmoid"]])
def test_what_contradicts_the_energies_is_refused_with_what_is_right(
    options: list[str], owned: tuple[Path, Path, Batch]
) -> None:
    path, dump, _ = owned
    told = CliRunner().invoke(app, ["inspect", "checkpoint", str(path), "--batch", str(dump), "-q", *options])
    assert told.exception is not None
    assert getattr(told.exception, "exit_code", None) == 2
    assert "--head original --nhead 8" in str(told.exception)


def test_a_mask_that_never_reached_the_model_is_found_and_measured_so(tmp_path: Path) -> None:
    batch, model = make_batch(SAMPLES), head("original", 8)
    dump = save(batch, tmp_path / "dump.safetensors.pt", energies(model, batch, "unused"))
    facts = inspect_checkpoint(checkpoint(model, tmp_path / "head.pt"), dump, ModelOptions()).checkpoint
    assert facts.mask == "unused"
    assert "mask never passed" in facts.identity_told


@pytest.mark.slow
def test_anothers_energies_are_refused_alone_and_shared_by_several(
    owned: tuple[Path, Path, Batch], tmp_path: Path
) -> None:
    path, _, batch = owned
    digest = sha256(path.read_bytes()).hexdigest()
    own = torch.load(tmp_path / "dump.pt", weights_only=True)["energies"]
    other = checkpoint(head("original", 8, seed=3), tmp_path / "head_step20.pt")
    for whose in (None, digest, 10, torch.tensor(10)):
        dump = save(batch, tmp_path / "whose.pt", own, **({} if whose is None else {"energies_of": whose}))
        with pytest.raises(InvalidCheckpoint, match="another model's"):
            inspect_checkpoint(other, dump, ModelOptions())
        sweep = inspect_many([path, other], dump, workers=0)
        assert [row.diagnosis.checkpoint.identity for row in sweep.rows if row.diagnosis] == ["same", "shared"]
        compared = compare_checkpoints([other, path], dump)
        assert {side.facts["nhead"] for side in compared.sides} == {"8"}
        assert any("as the dump's `energies` prove of" in note for note in compared.notes)
        words = ["inspect", "checkpoint", str(other), str(path), "--batch", str(dump), "-q", "--workers", "0"]
        told = CliRunner().invoke(app, words, env={"COLUMNS": "400"}).stdout
        assert f"--energies-of {path}" in told or f"inspect checkpoint {path}" in told
        alone = inspect_checkpoint(other, dump, ModelOptions(energies_of=str(path)))
        assert alone.checkpoint.identity == "shared"
        assert alone.checkpoint.nhead == 8
    with pytest.raises(UsageError, match="are not those of this checkpoint"):
        inspect_checkpoint(path, dump, ModelOptions(energies_of=str(other)))


def test_energies_that_are_a_checkpoints_by_name_must_be_its_own(owned: tuple[Path, Path, Batch]) -> None:
    path, dump, batch = owned
    other = checkpoint(head("original", 8, seed=3), path.parent / "head_step20.pt")
    digest = sha256(other.read_bytes()).hexdigest()
    own = torch.load(dump, weights_only=True)["energies"]
    claimed = save(batch, path.parent / "claimed.pt", own, energies_of=digest)
    failed = inspect_many([path, other], claimed, ModelOptions(head="original", nhead=8), workers=0).rows
    assert [row.diagnosis is None for row in failed] == [False, True]
    assert "this checkpoint's" in failed[1].error


def test_a_repair_takes_the_form_that_energies_prove_and_its_result_is_not_refused(
    owned: tuple[Path, Path, Batch], tmp_path: Path
) -> None:
    path, dump, _ = owned
    options = RepairOptions(TrainingPlan(steps=5, batch_size=8), forced=("linear-head",))
    repair, _ = repair_checkpoint(path, dump, None, ModelOptions(), options, tmp_path / "out", holdout_fraction=0.4)
    assert repair is not None
    assert repair.arms["before"].checkpoint.identity == "same"
    assert repair.arms["before"].checkpoint.nhead == 8
    again = inspect_checkpoint(Path(repair.checkpoint), dump, ModelOptions()).checkpoint
    assert again.identity in ("assumed", "same")


def test_without_energies_the_report_says_what_a_wrong_guess_would_change(
    owned: tuple[Path, Path, Batch],
) -> None:
    path, dump, batch = owned
    plain = save(batch, dump.parent / "plain.pt")
    told = CliRunner().invoke(
        app,
        ["inspect", "checkpoint", str(path), "--batch", str(plain), "-q", "--head", "original", "--nhead", "8"],
        env={"COLUMNS": "200"},
    )
    assert "assumed, not proven: head original" in told.output
    assert "--nhead 4, loss" in told.output or "--nhead 16, loss" in told.output
    assert "--mask" in told.output


# keys


def test_keys_that_published_heads_never_read_are_passed_over(tmp_path: Path) -> None:
    batch, model = make_batch(SAMPLES), head("original")
    torch.save({**model.state_dict(), "gate_a": torch.ones(1)}, tmp_path / "head.pt")
    dump = save(batch, tmp_path / "plain.pt")
    diagnosis = inspect_checkpoint(tmp_path / "head.pt", dump, ModelOptions(head="original", nhead=NHEAD))
    assert any("gate_a" in note for note in diagnosis.notes)


def test_unexpected_keys_are_refused_by_name_and_shape_unless_ignored_or_proven(tmp_path: Path) -> None:
    batch, model = make_batch(SAMPLES), head("original")
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    torch.save({**state, "module.aux.weight": torch.ones(2, 3)}, tmp_path / "head.pt")
    plain = save(batch, tmp_path / "plain.pt")
    options = ModelOptions(head="original", nhead=NHEAD)
    with pytest.raises(InvalidCheckpoint, match=r"aux\.weight \[2, 3\].*--ignore-keys aux\.weight"):
        inspect_checkpoint(tmp_path / "head.pt", plain, options)
    for pattern in ("aux.*", "module.aux.weight"):
        diagnosis = inspect_checkpoint(tmp_path / "head.pt", plain, replace(options, ignore_keys=(pattern,)))
        assert any("--ignore-keys" in note for note in diagnosis.notes)
    proven = save(batch, tmp_path / "proven.pt", energies(model, batch))
    assert "aux.weight" in inspect_checkpoint(tmp_path / "head.pt", proven, ModelOptions()).checkpoint.identity_told
    del state["module.cross.in_proj_bias"]
    torch.save(state, tmp_path / "head.pt")
    with pytest.raises(InvalidCheckpoint, match="missing"):
        inspect_checkpoint(tmp_path / "head.pt", proven, ModelOptions())


# a user's own module


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.net = nn.Sequential(nn.Linear(12 + 3, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        seen = torch.ones(hidden.shape[:2]) if pad_mask is None else (~pad_mask).float()
        context = (hidden * seen[..., None]).sum(1) / seen.sum(1, keepdim=True).clamp_min(1)
        answer: Tensor = 3 * self.net(torch.cat((context, actions.mean(1)), dim=-1))[:, 0]
        return answer


def build() -> Own:
    return Own()


MODEL = f"{__file__}:build"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (lambda own, batch: energies(own, batch), {"identity": "same", "mask": "hidden", "sign": "energy"}),
        (lambda own, batch: -energies(own, batch), {"identity": "same", "sign": "score"}),
        (lambda own, batch: energies(own, batch, "visible"), {"identity": "same", "mask": "visible"}),
        (lambda own, batch: energies(own, batch, "unused"), {"identity": "same", "mask": "unused"}),
    ],
)
def test_mask_and_sign_of_a_users_module_are_found(
    given: Callable[[nn.Module, Batch], Tensor], wanted: dict[str, str], tmp_path: Path
) -> None:
    own, batch = Own(), make_batch(SAMPLES)
    dump = save(batch, tmp_path / "dump.pt", given(own, batch))
    facts = inspect_checkpoint(checkpoint(own, tmp_path / "own.pt"), dump, ModelOptions(model=MODEL)).checkpoint
    assert {name: facts.texts()[name] for name in wanted} == wanted


def test_a_wrong_sign_and_wrong_preprocessing_of_a_users_module_are_refused(tmp_path: Path) -> None:
    own, batch = Own(), make_batch(SAMPLES)
    path = checkpoint(own, tmp_path / "own.pt")
    negated = save(batch, tmp_path / "negated.pt", -energies(own, batch))
    with pytest.raises(UsageError, match="--sign score"):
        inspect_checkpoint(path, negated, ModelOptions(model=MODEL, sign="energy"))
    scaled = save(batch, tmp_path / "scaled.pt", energies(own, replace(batch, actions=batch.actions * 0.5)))
    with pytest.raises(InvalidCheckpoint, match="what your code does to contexts"):
        inspect_checkpoint(path, scaled, ModelOptions(model=MODEL))


# dumps


def test_energies_go_through_every_kind_of_dump(tmp_path: Path) -> None:
    batch, model = make_batch(SAMPLES), head("original")
    own, path = energies(model, batch), checkpoint(model, tmp_path / "head.pt")
    digest = sha256(path.read_bytes()).hexdigest()
    plain = batch.present()
    dense = {name: value.contiguous() for name, value in plain.items()}
    save_file({**dense, "energies": own}, tmp_path / "a.safetensors", {"energies_of": digest})
    arrays = {name: value.numpy() for name, value in plain.items()}
    np.savez(tmp_path / "b.npz", **arrays, energies=own.numpy()[:, None], energies_of=np.array(digest))
    np.savez_compressed(tmp_path / "c.npz", **arrays, energies=own.numpy(), energies_of=np.array(digest))
    with BatchWriter(tmp_path / "d", shard_samples=20) as writer:
        for part in range(0, SAMPLES, 16):
            some = batch.take(torch.arange(part, part + 16))
            writer.add(**some.present(), energies=own[part : part + 16], energies_of=digest)
    for dump in ("a.safetensors", "b.npz", "c.npz", "d"):
        assert inspect_checkpoint(path, tmp_path / dump, ModelOptions()).checkpoint.identity == "same", dump


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"energies": torch.ones(3)}, "`energies`"),
        ({"energies": torch.ones(SAMPLES, dtype=torch.long)}, "floating point"),
        ({"energies": torch.ones(SAMPLES), "energies_of": "latest"}, "SHA-256"),
        ({"energies": torch.ones(SAMPLES), "energies_of": torch.arange(SAMPLES)}, "several checkpoints"),
        ({"energies_of": 10}, "no `energies`"),
    ],
)
def test_energies_that_cannot_be_are_said(more: dict[str, object], told: str, tmp_path: Path) -> None:
    dump = save(make_batch(SAMPLES), tmp_path / "dump.pt", **more)
    with pytest.raises(InvalidBatch, match=told):
        inspect_checkpoint(checkpoint(head("original"), tmp_path / "head.pt"), dump, ModelOptions())


# baselines and the monitor


def test_a_baseline_of_a_name_that_meant_another_head_is_incomparable(tmp_path: Path) -> None:
    batch, path = make_batch(SAMPLES), checkpoint(head("original"), tmp_path / "head.pt")
    dump, baseline = save(batch, tmp_path / "plain.pt"), tmp_path / "baseline.json"
    words = [
        "compare",
        "checkpoints",
        str(path),
        "--batch",
        str(dump),
        "-q",
        "--head",
        "original",
        "--nhead",
        str(NHEAD),
    ]
    CliRunner().invoke(app, [*words, "--save-baseline", str(baseline)])
    same = json.loads(CliRunner().invoke(app, [*words, "--baseline", str(baseline), "--format", "json"]).stdout)
    assert same["verdict"] == "unchanged"
    older = json.loads(baseline.read_text())
    del older["side"]["facts"]["pool"]
    baseline.write_text(json.dumps(older))
    told = json.loads(CliRunner().invoke(app, [*words, "--baseline", str(baseline), "--format", "json"]).stdout)
    assert told["verdict"] == "incomparable"
    assert "form of the head is original-raw here and original there" in told["metrics"][0]["reason"]
    words[words.index("original")] = "original-raw"
    right = json.loads(CliRunner().invoke(app, [*words, "--baseline", str(baseline), "--format", "json"]).stdout)
    assert right["verdict"] != "incomparable"


def test_the_monitor_says_whether_the_loop_computes_what_it_measures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batch, model = make_batch(SAMPLES), head("linear")
    model.train()
    with Monitor(model, batch, tmp_path) as monitor, caplog.at_level(logging.WARNING, "energydiag"):
        assert monitor.verify(energies(model.eval(), batch), batch.hidden, batch.actions, batch.pad_mask) is True
        assert not caplog.messages
        unmasked = energies(model, batch, "unused")
        assert monitor.verify(unmasked, batch.hidden, batch.actions, batch.pad_mask) is False
        assert "mask never passed to the model" in caplog.messages[-1]
        assert monitor.verify(unmasked.flip(0), batch.hidden, batch.actions, batch.pad_mask) is False
        assert "another function" in caplog.messages[-1]
        assert monitor.verify(unmasked[:3], batch.hidden, batch.actions, batch.pad_mask) is None


def test_the_public_loader_takes_pooling_mask_and_keys(tmp_path: Path) -> None:
    batch, model = make_batch(4), head("original-raw")
    torch.save({**model.state_dict(), "aux": torch.ones(1)}, tmp_path / "head.pt")
    energy = load_checkpoint(
        tmp_path / "head.pt", head="sigmoid", pool="raw", nhead=NHEAD, mask="unused", ignore_keys=("aux",)
    )
    torch.testing.assert_close(energy(batch.hidden, batch.actions, batch.pad_mask), energies(model, batch, "unused"))


# what is no proof, and what was once taken for one


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda b: replace(b, hidden=b.hidden[..., :7]),
        lambda b: replace(b, hidden=b.hidden[:, 0], pad_mask=None),
        lambda b: replace(b, actions=b.actions[:, 0], layer_actions=None, policy_actions=None),
        lambda b: replace(b, hidden=b.hidden[..., None, None], pad_mask=None),
    ],
    ids=["width", "pooled", "no steps", "image"],
)
def test_contexts_that_the_head_was_not_made_for_are_refused_first(
    change: Callable[[Batch], Batch], proven: bool, owned: tuple[Path, Path, Batch]
) -> None:
    path, dump, batch = owned
    own = torch.load(dump, weights_only=True)["energies"] if proven else None
    other = save(change(batch), dump.parent / "other.pt", own)
    with pytest.raises(InvalidBatch, match=r"made for contexts of width 12|takes contexts \[N, S, D\]"):
        inspect_checkpoint(path, other, ModelOptions(head="original", nhead=8))


def test_a_wrong_form_is_refused_wherever_the_owners_checkpoint_is_among_several(
    owned: tuple[Path, Path, Batch], tmp_path: Path
) -> None:
    path, dump, _ = owned
    other = checkpoint(head("original", 8, seed=3), tmp_path / "head_step20.pt")
    wrong = ModelOptions(head="rescaled", nhead=4)
    for refused in (
        lambda: compare_checkpoints([other, path], dump, [wrong]),
        lambda: inspect_many([path, other], dump, wrong, workers=0),
        lambda: repair_checkpoint(
            path, dump, None, wrong, RepairOptions(TrainingPlan(steps=1)), tmp_path / "out", dry_run=True
        ),
    ):
        with pytest.raises(UsageError, match="--head original --nhead 8"):
            refused()


def test_a_formula_that_no_published_head_has_is_proven_and_never_overridden(tmp_path: Path) -> None:
    batch, form = make_batch(SAMPLES), head_form("3*sigmoid(0.7*r) + 0.2")
    own, theirs = head(form), head("original")
    path = checkpoint(own, tmp_path / "head.pt")
    dump = save(batch, tmp_path / "dump.pt", energies(own, batch))
    stated = ModelOptions(head="torch.sigmoid(0.7 * r) * 3.0 + 0.2", nhead=NHEAD)
    assert inspect_checkpoint(path, dump, stated).checkpoint.identity == "same"
    other = save(batch, tmp_path / "other.pt", energies(theirs, batch))
    with pytest.raises(UsageError, match="--head original"):
        inspect_checkpoint(checkpoint(theirs, path), other, stated)


def test_a_mask_that_nothing_tells_does_not_excuse_a_wrong_head(tmp_path: Path) -> None:
    batch, model = replace(make_batch(SAMPLES), pad_mask=None), head("original")
    dump = save(batch, tmp_path / "dump.pt", model(batch.hidden, batch.actions).detach())
    with pytest.raises(UsageError, match="--head original"):
        inspect_checkpoint(
            checkpoint(model, tmp_path / "head.pt"), dump, ModelOptions(head="rescaled", nhead=NHEAD, mask="unused")
        )


def test_a_wrong_mask_is_answered_by_the_right_one(owned: tuple[Path, Path, Batch]) -> None:
    path, dump, _ = owned
    with pytest.raises(UsageError) as caught:
        inspect_checkpoint(path, dump, ModelOptions(head="original", nhead=8, mask="visible"))
    assert "use --head original --nhead 8 --mask hidden in the place of" in caught.value.next_step


def test_what_the_owner_computed_in_a_finer_type_is_measured_in_it(tmp_path: Path) -> None:
    batch, model = make_batch(SAMPLES), head("linear").bfloat16().float()
    dump = save(batch, tmp_path / "dump.pt", energies(model, batch))
    torch.save({key: value.bfloat16() for key, value in model.state_dict().items()}, tmp_path / "head.pt")
    diagnosis = inspect_checkpoint(tmp_path / "head.pt", dump, ModelOptions())
    assert diagnosis.checkpoint.identity == "same"
    assert diagnosis.provenance["dtype"] == "float32"
    loaded = load_checkpoint(tmp_path / "head.pt", batch=replace(batch, energies=energies(model, batch)))
    torch.testing.assert_close(energies(loaded.module, batch), energies(model, batch))


@pytest.mark.parametrize("samples", [2, 6, 12])
def test_few_samples_prove_nothing_and_dropout_explains_nothing_there(samples: int) -> None:
    batch = make_batch(samples)
    for seed in range(4):
        identity = found(head("original"), batch, energies(head("original", seed=seed + 1), batch))
        assert identity.verdict == "different"
    same = found(head("original"), batch, energies(head("original"), batch))
    assert same.verdict == ("same" if samples >= 8 else "undetermined")


def test_numbers_that_are_not_finite_are_said_and_explain_nothing(tmp_path: Path) -> None:
    batch, model = make_batch(SAMPLES), head("linear")
    with torch.no_grad():
        model.prediction_head.fc2.weight.mul_(1e6)
    own, path = energies(model, batch), checkpoint(model, tmp_path / "head.pt")
    assert found(model, batch, energies(head("linear", seed=4), batch)).verdict == "different"
    for broken in (own.half(), own.clone().index_fill_(0, torch.tensor([3]), float("nan"))):
        with pytest.raises(InvalidBatch, match=r"not finite|is finite"):
            inspect_checkpoint(path, save(batch, tmp_path / "dump.pt", broken), ModelOptions())


def test_keys_that_are_proven_unread_do_not_break_sharing(owned: tuple[Path, Path, Batch], tmp_path: Path) -> None:
    _, dump, _ = owned
    paths = [tmp_path / "a.pt", tmp_path / "b.pt"]
    for path, seed in zip(paths, (0, 3), strict=True):
        torch.save({**head("original", 8, seed=seed).state_dict(), "aux": torch.ones(2)}, path)
    sweep = inspect_many(paths, dump, workers=0)
    assert [row.diagnosis.checkpoint.identity for row in sweep.rows if row.diagnosis] == ["same", "shared"]


def test_an_undetermined_owner_is_no_stranger(owned: tuple[Path, Path, Batch], tmp_path: Path) -> None:
    path, dump, batch = owned
    own = torch.load(dump, weights_only=True)["energies"]
    own[::5] += 0.03 * own.std()
    near = save(batch, tmp_path / "near.pt", own)
    other = checkpoint(head("original", 8, seed=3), tmp_path / "head_step20.pt")
    sweep = inspect_many([path, other], near, workers=0)
    told = [row.diagnosis.checkpoint for row in sweep.rows if row.diagnosis]
    assert [facts.identity for facts in told] == ["undetermined", "shared"]
    assert "make probable" in told[1].identity_told


@pytest.mark.parametrize("whose", [np.int64(10), torch.tensor(10, dtype=torch.uint8), "10"])
def test_a_step_may_be_any_whole_number(whose: object, owned: tuple[Path, Path, Batch]) -> None:
    path, dump, batch = owned
    own = torch.load(dump, weights_only=True)["energies"]
    with BatchWriter(dump.parent / "written") as writer:
        writer.add(**batch.present(), energies=own, energies_of=whose)
    assert inspect_checkpoint(path, dump.parent / "written", ModelOptions()).checkpoint.identity == "same"


class Wrapper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ebm = Own()
        self.register_buffer("mean", torch.zeros(1), persistent=False)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer: Tensor = self.ebm(hidden, actions, pad_mask)
        return answer


class Filled(Wrapper):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filled", torch.zeros(1))


def wrapper() -> Wrapper:
    return Wrapper()


def filled() -> Filled:
    return Filled()


@pytest.mark.parametrize(
    ("keys", "factory", "refused"),
    [
        (lambda key: key, "wrapper", ""),
        (lambda key: f"policy.{key}", "wrapper", ""),
        (lambda key: key, "filled", "missing: filled"),
        (lambda key: key, "build", ""),
        (lambda key: key.replace("net.", "critic."), "build", "missing: net"),
    ],
)
def test_a_wrapper_finds_the_keys_of_what_it_wraps_and_takes_no_others(
    keys: Callable[[str], str], factory: str, refused: str, tmp_path: Path
) -> None:
    batch, state = make_batch(SAMPLES), {keys(key): value for key, value in Own().state_dict().items()}
    torch.save(state, tmp_path / "own.pt")
    dump, options = save(batch, tmp_path / "plain.pt"), ModelOptions(model=f"{__file__}:{factory}")
    if not refused:
        assert inspect_checkpoint(tmp_path / "own.pt", dump, options).measurements
        torch.save({**state, f"{keys('net').rpartition('net')[0]}temperature": torch.ones(1)}, tmp_path / "own.pt")
        refused = "temperature"
    with pytest.raises(InvalidCheckpoint, match=refused):
        inspect_checkpoint(tmp_path / "own.pt", dump, options)


def test_the_monitor_takes_scores_for_what_they_are(tmp_path: Path) -> None:
    class Scores(Own):
        def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
            return -super().forward(hidden, actions, pad_mask)

    batch, model = make_batch(SAMPLES), Scores()
    for sign in (1, -1):
        with Monitor(model, batch, tmp_path / str(sign), sign="score") as monitor:
            assert monitor.verify(sign * energies(model, batch), batch.hidden, batch.actions, batch.pad_mask) is True
