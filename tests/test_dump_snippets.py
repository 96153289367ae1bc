"""The snippets of docs/dumping.md run as they stand there, with a real policy in each trainer that they are for.

Each runs in a program of its own. What the policy really computed is recorded by hooks on it, and has to be dumped.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from energydiag.batches import load_batch
from energydiag.cli import main
from energydiag.dump import BatchWriter

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dumping.md"

EPISODES, LENGTH = 5, 4
PATCHES, WORDS, WIDTH, STEPS, ACTION, LAYERS = 3, 6, 12, 4, 3, 2
"""Image patches, text tokens, D, H, A and L; an empty action token for each step stands behind the text."""

Rows = dict[str, Tensor]


def snippets() -> dict[str, str]:
    """The first Python block under each heading."""
    parts = re.split(r"^#+ (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        heading: found[1]
        for heading, text in zip(parts[::2], parts[1::2], strict=True)
        if (found := re.search(r"```python\n(.*?)```", text, re.DOTALL))
    }


class Episodes(Dataset[Rows]):
    """Pictures, instructions of several lengths, and what an expert did; the answer depends on the picture."""

    def __init__(self, first_episode: int) -> None:
        generator = torch.Generator().manual_seed(first_episode)
        samples = EPISODES * LENGTH
        self.pictures = torch.randn(samples, PATCHES, WIDTH, generator=generator)
        words = torch.randint(2, WORDS + 1, (samples,), generator=generator)
        self.mask = torch.arange(WORDS + STEPS) < words[:, None]
        self.mask[:, WORDS:] = True
        self.words = torch.randint(1, 9, (samples, WORDS + STEPS), generator=generator) * self.mask
        self.words[:, WORDS:] = 9 + torch.arange(STEPS)
        self.actions = self.pictures.mean(1)[:, :ACTION, None].expand(-1, -1, STEPS).transpose(1, 2).tanh()
        self.episode = first_episode + torch.arange(samples) // LENGTH

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, index: int) -> Rows:
        return {
            "input_ids": self.words[index],
            "attention_mask": self.mask[index].long(),
            "pixel_values": self.pictures[index],
            "actions": self.actions[index],
            "episode": self.episode[index],
        }


class Output(dict[str, Any]):
    """A dict whose entries are attributes too, as the outputs of transformers are."""

    __getattr__ = dict.__getitem__


class Policy(nn.Module):
    """Image patches are put behind the first token; a head reads the chunk from the states of the action tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(9 + STEPS, WIDTH)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, 2, 16, 0.1, batch_first=True) for _ in range(LAYERS)
        )
        self.action_head = nn.Linear(WIDTH, ACTION)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor,
        actions: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> Output:
        words = self.words(input_ids)
        states = [torch.cat((words[:, :1], pixel_values.to(words.dtype), words[:, 1:]), dim=1)]
        patches = attention_mask.new_ones(pixel_values.shape[:2])
        visible = torch.cat((attention_mask[:, :1], patches, attention_mask[:, 1:]), dim=1)
        for layer in self.layers:
            states.append(layer(states[-1], src_key_padding_mask=visible == 0))
        output = Output(actions=self.action_head(states[-1][:, -STEPS:]), attention_mask=visible)
        if actions is not None:
            output["loss"] = (output.actions - actions).abs().mean()
        if output_hidden_states:
            output["hidden_states"] = tuple(states)
        return output


class EnergyHead(nn.Module):
    """An energy of the visible states and the chunk, with weights that are the same everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.linspace(-1, 1, WIDTH * STEPS * ACTION).reshape(WIDTH, -1).sin())

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor) -> Tensor:
        seen = hidden.float().masked_fill(pad_mask[..., None], 0.0).sum(dim=1)
        return ((seen @ self.weight) * actions.flatten(1)).sum(dim=1)


def record(policy: nn.Module) -> list[Rows]:
    """What the policy computes from now on where it does not train; the samples are told apart by their pictures."""
    seen: list[Rows] = []

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Output) -> None:
        if not module.training:
            pictures = kwargs["pixel_values"] if "pixel_values" in kwargs else args[2]
            kept = {
                "hidden": output.hidden_states[-1],
                "attention_mask": output.attention_mask,
                "policy_actions": output.actions,
                "pictures": pictures,
            }
            seen.append({name: value.detach().cpu().clone() for name, value in kept.items()})

    policy.register_forward_hook(hook, with_kwargs=True)
    return seen


def learn(policy: nn.Module, training: Episodes) -> None:
    """One epoch in plain torch."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
    for batch in DataLoader(training, 4, shuffle=True):
        batch.pop("episode")
        optimizer.zero_grad()
        policy(**batch)["loss"].backward()
        optimizer.step()


def plain(training: Episodes, heldout: Episodes, code: str) -> list[Rows]:
    policy = Policy()
    policy.to(torch.bfloat16)
    learn(policy, training)
    seen = record(policy)
    names = {"NUM_PATCHES": PATCHES, "slots": slice(-STEPS, None), "action_head": policy.action_head, **HEAD}
    exec(code, names | {"policy": policy, "heldout": DataLoader(heldout, 3)})
    return seen


def lightning(training: Episodes, heldout: Episodes, code: str) -> list[Rows]:
    from lightning import LightningModule, Trainer

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.policy = Policy()

        def training_step(self, batch: Rows) -> Tensor:
            return self.policy(**{name: value for name, value in batch.items() if name != "episode"}).loss

        def validation_step(self, batch: Rows) -> Output:
            inputs = {name: value for name, value in batch.items() if name != "episode"}
            return self.policy(**inputs, output_hidden_states=True)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-2)

    module, loader = Module(), DataLoader(heldout, 3)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    Trainer(max_epochs=1, **quiet).fit(module, DataLoader(training, 4, shuffle=True), loader)
    seen = record(module.policy)
    exec(code, {"module": module, "heldout": loader, **HEAD})
    return seen


def transformers(training: Episodes, heldout: Episodes, code: str) -> list[Rows]:
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        output_dir="trained",
        num_train_epochs=1,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=3,
        learning_rate=1e-2,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["actions"],
    )
    policy = Policy()
    seen = record(policy)
    exec(code, {"policy": policy, "arguments": arguments, "training": training, "heldout": heldout, **HEAD})
    return seen


def ranks(training: Episodes, heldout: Episodes, code: str) -> list[Rows]:
    policy = Policy()
    learn(policy, training)
    seen = record(policy)
    exec(code, {"policy": policy, "heldout": DataLoader(heldout, 3, drop_last=True), **HEAD})
    return seen


def torchrun(training: Episodes, heldout: Episodes, code: str) -> list[Rows]:
    """Behind `ranks`, whose snippet has joined the processes."""
    from torch.utils.data.distributed import DistributedSampler

    policy = Policy()
    seen = record(policy)
    sampler = DistributedSampler(heldout, drop_last=True)
    exec(code, {"policy": policy, "heldout": DataLoader(heldout, 3, sampler=sampler), **HEAD})
    return seen


HEAD = {"energy_head": EnergyHead()}

RUNS: dict[str, tuple[Callable[[Episodes, Episodes, str], list[Rows]], int]] = {
    "A loop of your own": (plain, 20),
    "Lightning": (lightning, 20),
    "The Trainer of transformers": (transformers, 20),
    "Accelerate": (ranks, 18),
    "torchrun": (torchrun, 20),
}
"""Who runs the snippet, and how many of the 20 held-out samples it can write."""


def program(headings: list[str]) -> None:
    """Runs snippets in folders of their own, and keeps what their policies computed."""
    torch.set_num_threads(1)
    rank = os.environ.get("RANK", "0")
    start = Path.cwd()
    for heading in headings:
        folder = start / heading.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        os.chdir(folder)
        seen = RUNS[heading][0](Episodes(100), Episodes(0), snippets()[heading])
        joined = {name: torch.cat([rows[name] for rows in seen]) for name in seen[0]}
        torch.save(joined, f"seen-{rank}.pt")


@pytest.mark.slow
@pytest.mark.parametrize(
    "headings",
    [("A loop of your own",), ("Lightning",), ("The Trainer of transformers",), ("Accelerate", "torchrun")],
    ids=lambda headings: headings[0],
)
def test_a_snippet_dumps_what_the_policy_computed(
    headings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if len(headings) > 1 else []
    done = subprocess.run(
        [sys.executable, *many, __file__, *headings],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(PAGE.parent.parent), str(Path(__file__).parent)]),
            "HF_HUB_OFFLINE": "1",
            "ACCELERATE_USE_CPU": "1",
            "CUDA_VISIBLE_DEVICES": "",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    heldout = Episodes(0)
    for heading in headings:
        folder = tmp_path / heading.replace(" ", "-")
        got = load_batch(folder / "dump")
        parts = [torch.load(path, weights_only=True) for path in sorted(folder.glob("seen-*.pt"))]
        seen = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        same = (seen["pictures"][:, None] == heldout.pictures).flatten(2).all(2)
        assert same.sum(1).tolist() == [1] * len(same)
        order = same.int().argmax(1)
        assert len(order.unique()) == len(order) == RUNS[heading][1], "every sample once"
        assert torch.equal(got.hidden[:], seen["hidden"])
        assert got.hidden.dtype == seen["hidden"].dtype
        assert got.pad_mask is not None
        assert torch.equal(got.pad_mask[:], seen["attention_mask"] == 0)
        assert torch.equal(got.actions, heldout.actions[order])
        assert got.policy_actions is not None
        assert torch.equal(got.policy_actions, seen["policy_actions"].float())
        assert got.energies is not None
        torch.testing.assert_close(got.energies, EnergyHead()(got.hidden[:], got.actions, got.pad_mask[:]))
        assert got.episode is not None
        assert torch.equal(got.episode, heldout.episode[order])
        assert (got.layer_actions is not None) == (heading == "A loop of your own")
        monkeypatch.setattr(sys, "argv", ["energydiag", "inspect", "batch", str(folder / "dump"), "--quiet"])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code in (0, 1)
        assert f"{len(order)} from {EPISODES} episodes" in capsys.readouterr().out


def test_a_snippet_takes_four_statements_of_energydiag_at_most() -> None:
    found = snippets()
    assert set(RUNS) < set(found)
    for heading in RUNS:
        ours = [
            node
            for node in ast.walk(ast.parse(found[heading]))
            if isinstance(node, ast.ImportFrom | ast.With | ast.Assign | ast.Expr)
            and re.search(r"BatchWriter|writer", ast.unparse(node).partition("\n")[0])
        ]
        assert 3 <= len(ours) <= 4, heading


def test_a_writer_outlives_the_mode_and_the_default_device_of_its_first_samples(tmp_path: Path) -> None:
    with BatchWriter(tmp_path) as writer:
        with torch.inference_mode(), torch.device("meta"):
            writer.add(hidden=torch.ones(2, 3, device="cpu"), actions=torch.ones(2, 4, device="cpu"))
        writer.add(hidden=torch.zeros(1, 3), actions=torch.zeros(1, 4))
    assert load_batch(tmp_path).hidden[:].tolist() == [[1.0] * 3, [1.0] * 3, [0.0] * 3]


if __name__ == "__main__":
    program(sys.argv[1:])
