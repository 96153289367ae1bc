"""What watching a training step costs, side by side.

``python benchmarks/monitor.py`` trains the reference cross-attention head with InfoNCE over a batch's own swaps. The
same loop, on the same data, takes turns step by step between four ways:

* plain;
* ``energydiag.Monitor`` (swap energies, saturation, alignment, norms on 32 held-out samples; log; rules);
* ``wandb.watch(log="all")`` written anew: minimum, maximum and a histogram of 64 bins of every parameter and every
  gradient, as a line of JSON;
* a stand-in for Cockpit's "economy" configuration: individual gradients of the batch's rows, from them a histogram of
  their elements, norms, the norm, inner-product and orthogonality tests, update size and distance from the start.
  Cockpit itself (1.0.2) cannot be hooked in: BackPACK has no rule for attention, and needs a loss that is a sum over
  the rows of the model's output, which InfoNCE over a swap table is not.

What is added to a step is timed in place, and medians are printed; from them the share of the training's time at one
look every N steps. The first looks, which find out how the model can be asked, are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import energydiag
from energydiag.losses import info_nce_per_row
from energydiag.models.cross_attention import CrossAttentionEnergy
from energydiag.monitor.monitor import EVERY

SIZES = {"reference": (64, 128, 1024, 512, 8), "small": (64, 16, 64, 64, 4)}
"""B contexts, S tokens, D context width, hidden width, attention heads."""

STEPS, DIMENSIONS, TAU = 8, 7, 0.5
TURN = 3
"""Steps of one way before it is the next one's turn: an ordinary one, the one before a look, and one with a look."""

_PIECE = 8
"""Rows whose individual gradients are held at once."""

Look = Callable[[Tensor, bool], None]
"""From the loss and whether a look is due."""


class Training:
    """One way to train; all begin at the same weights and see the same batches."""

    def __init__(self, size: tuple[int, int, int, int, int], device: str) -> None:
        self.contexts, tokens, width, hidden, heads = size
        self.generator = torch.Generator().manual_seed(1)
        self.shapes = (self.contexts, tokens, width), (self.contexts, STEPS, DIMENSIONS)
        self.device = device
        torch.manual_seed(0)
        self.model = CrossAttentionEnergy(width, DIMENSIONS, hidden, heads).to(device).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1e-4)
        self.batch = self.draw()

    def draw(self) -> tuple[Tensor, Tensor]:
        hidden, actions = (torch.randn(shape, generator=self.generator) for shape in self.shapes)
        return hidden.to(self.device), actions.to(self.device)

    def step(self) -> Tensor:
        """One step; gradients stay."""
        self.optimizer.zero_grad()
        self.batch = self.draw()
        loss = info_nce_per_row(energydiag.pairwise_energies(self.model, *self.batch), TAU).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return loss


def nothing(_training: Training, _folder: Path) -> Look:
    return lambda _loss, _due: None


def ours(training: Training, folder: Path) -> Look:
    hidden, actions = training.draw()
    held_out = {"hidden": hidden, "actions": actions, "episode": torch.arange(len(hidden))}
    monitor = energydiag.Monitor(
        training.model, held_out, folder, TURN, tau=TAU, batch_size=training.contexts, most_overhead=0, alert_on=()
    )
    numbers = itertools.count(1)
    return lambda loss, _due: monitor.step(loss=loss, lr=1e-4, step=next(numbers))


def histograms(training: Training, folder: Path) -> Look:
    path = folder.with_suffix(".jsonl")

    def one(value: Tensor) -> dict[str, object]:
        flat = value.detach().reshape(-1).float()
        flat = flat[torch.isfinite(flat)]
        low, high = float(flat.min()), float(flat.max())
        return {"min": low, "max": high, "counts": torch.histc(flat, 64, low, high).tolist()}

    def look(loss: Tensor, due: bool) -> None:
        if not due:
            return
        found: dict[str, object] = {"loss": float(loss.detach())}
        for name, parameter in training.model.named_parameters():
            found[f"parameters/{name}"] = one(parameter)
            if parameter.grad is not None:
                found[f"gradients/{name}"] = one(parameter.grad)
        with path.open("a") as file:
            file.write(json.dumps(found) + "\n")

    return look


def cockpit(training: Training, folder: Path) -> Look:
    path, model = folder.with_suffix(".jsonl"), training.model
    start = [p.detach().clone() for p in model.parameters()]
    before = [p.detach().clone() for p in model.parameters()]

    def row_loss(values: dict[str, Tensor], hidden: Tensor, target: Tensor, actions: Tensor) -> Tensor:
        def one(action: Tensor) -> Tensor:
            return torch.func.functional_call(model, values, (hidden[None], action[None]))[0]

        energy = torch.func.vmap(one, randomness="different")(actions)
        return torch.nn.functional.cross_entropy(-energy / TAU, target)

    by_row = torch.func.vmap(torch.func.grad(row_loss), in_dims=(None, 0, 0, None), randomness="different")

    def look(loss: Tensor, due: bool) -> None:
        if not due:
            return
        hidden, actions = training.batch
        values = {name: p.detach() for name, p in model.named_parameters()}
        mean = {name: p.grad for name, p in model.named_parameters()}
        targets = torch.arange(len(hidden), device=hidden.device)
        square, inner, counts = [], [], torch.zeros(64, device=hidden.device)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            for part in torch.split(torch.arange(len(hidden)), _PIECE):
                found = by_row(values, hidden[part], targets[part], actions)
                square.append(sum(g.flatten(1).square().sum(1) for g in found.values()))
                inner.append(sum(g.flatten(1) @ mean[name].flatten() for name, g in found.items()))  # type: ignore[union-attr]
                for gradient in found.values():
                    counts += torch.histc(gradient, 64, -2, 2)
        norm2 = sum(g.square().sum() for g in mean.values() if g is not None)
        squares, inners, n = torch.cat(square), torch.cat(inner), len(hidden)
        parameters = [p.detach() for p in model.parameters()]
        told = {
            "loss": float(loss.detach()),
            "grad_norm": float(norm2) ** 0.5,
            "norm_test": float((squares.sum() / n - norm2) / (n * norm2)),
            "inner_test": float((inners.square().sum() / n / norm2**2 - 1) / n),
            "ortho_test": float((squares / norm2 - (inners / norm2).square()).sum() / n**2),
            "distance": [float((p - s).norm()) for p, s in zip(parameters, start, strict=True)],
            "update": [float((p - s).norm()) for p, s in zip(parameters, before, strict=True)],
            "histogram": counts.tolist(),
        }
        for copy, value in zip(before, parameters, strict=True):
            copy.copy_(value)
        with path.open("a") as file:
            file.write(json.dumps(told) + "\n")

    return look


KINDS = ("ordinary", "before a look", "with a look")
WAYS = {"plain": nothing, "energydiag.Monitor": ours, "histograms as wandb.watch": histograms, "as Cockpit": cockpit}


def measure(
    size: tuple[int, int, int, int, int], device: str, rounds: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Median seconds of a step, and of what each way adds to the three kinds of steps."""
    # on a CPU, other programs' time does not count
    clock = time.process_time if device == "cpu" else time.perf_counter

    def seconds(run: Callable[[], object]) -> float:
        wait()
        start = clock()
        run()
        wait()
        return clock() - start

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    trainings = {name: Training(size, device) for name in WAYS}
    looks = {name: WAYS[name](trainings[name], folder / name.replace(" ", "-")) for name in WAYS}
    spent: dict[str, dict[str, list[float]]] = {name: {what: [] for what in ("step", *KINDS)} for name in WAYS}
    for number in range(rounds + 2):
        for name, training in trainings.items():
            for kind in KINDS:
                due = kind == KINDS[-1]
                loss: list[Tensor] = []
                step = seconds(lambda training=training, loss=loss: loss.append(training.step()))  # type: ignore[misc]
                extra = seconds(lambda name=name, loss=loss, due=due: looks[name](loss[0], due))  # type: ignore[misc]
                if number >= 2:  # what is found out once was
                    spent[name]["step"].append(step)
                    spent[name][kind].append(extra)
    return {name: {what: statistics.median(times) for what, times in by.items()} for name, by in spent.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--every", type=int, default=EVERY, help="steps between two looks")
    parser.add_argument("--size", choices=SIZES, action="append")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", help="write the figures to this file")
    arguments = parser.parse_args()
    results = []
    for size in arguments.size or SIZES:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(SIZES[size], arguments.device, arguments.rounds, Path(folder))
        step = statistics.median(by["step"] for by in found.values())
        print(f"{size} (B, S, D, W, heads = {SIZES[size]}): {step:.3f}s a step, one look every {arguments.every} steps")
        print(f"{'':>28} {'adds to a step':>16} {'before a look':>14} {'with a look':>12} {'share':>9}")
        for name, by in found.items():
            plain, before, look = (by[kind] for kind in KINDS)
            share = ((arguments.every - 2) * plain + before + look) / (arguments.every * step)
            results.append({"size": size, "way": name, "step_seconds": step, "share": share, **by})
            print(f"{name:>28} {1e6 * plain:13.0f} µs {before:13.3f}s {look:11.3f}s {100 * share:7.2f} %")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
