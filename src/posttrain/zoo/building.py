"""From a configuration to a directory with a trained model and its card, all of it or nothing."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.progress import Progress
from transformers import PreTrainedTokenizerBase, Qwen3ForCausalLM

from posttrain.tasks.evaluate import complete, judge
from posttrain.tasks.verdict import Verifier
from posttrain.zoo.models import SMALL, Size, load, make_model, make_tokenizer, save
from posttrain.zoo.sft import Examples, SFTConfig, batches, train


@dataclass(frozen=True)
class StartConfig:
    """What every start checkpoint is built from."""

    sft: SFTConfig
    """Training on right examples."""
    size: Size = SMALL
    """Shape of the model."""
    seed: int = 0
    """Of the examples and of the initial weights."""
    threads: int = 1
    """Of torch. Matrices this small gain nothing from a second thread, which also ends repeatability to the bit."""
    evaluation: int = 100
    """Held-out prompts on the card, per kind."""

    def __post_init__(self) -> None:
        for name in ("threads", "evaluation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class Phase:
    """A stretch of training on one kind of examples, with a schedule of its own."""

    groups: Sequence[Examples]
    """Examples of similar length."""
    shares: Sequence[float]
    """Each group's share of the batches."""
    sft: SFTConfig
    """Steps, batch and learning rate."""


def build_start(
    out: Path,
    name: str,
    config: StartConfig,
    *,
    tokens: Sequence[str],
    max_new_tokens: int,
    phases: Callable[[PreTrainedTokenizerBase], Iterator[Phase]],
    scores: Callable[[Qwen3ForCausalLM, PreTrainedTokenizerBase], Mapping[str, Any]],
) -> dict[str, Any]:
    """Train, save and evaluate one model in `out/start`; `out` appears when everything is ready, or not at all.

    Args:
        out: A directory that does not exist yet.
        name: Such as `chain/start`; `posttrain zoo build chain` makes it.
        config: Goes to the card.
        tokens: The vocabulary.
        max_new_tokens: Longest completion.
        phases: What to learn, made one after the other.
        scores: Facts for the card about the saved model, `accuracy` among them.

    Returns:
        The card, under the key `start`.

    Raises:
        ValueError: `out` exists.
    """
    with torch_threads(config.threads), appearing(out) as ready:
        tokenizer = make_tokenizer(tokens)
        model = make_model(len(tokenizer), config.size, seed=config.seed)
        seconds = 0
        for phase in phases(tokenizer):
            data = batches(phase.groups, phase.shares, batch=phase.sft.batch, seed=config.seed)
            seconds += fit(name, model, data, phase.sft)
        save(model, tokenizer, ready / "start", max_new_tokens=max_new_tokens)
        model, tokenizer = load(ready / "start")
        card = write_card(
            ready / "start",
            name=name,
            training_seconds=seconds,
            command=f"posttrain zoo build {name.split('/')[0]}",
            parameters=model.num_parameters(),
            facts=scores(model, tokenizer),
            config=config,
            training=config,
        )
    return {"start": card}


def fit(name: str, model: Qwen3ForCausalLM, data: Iterator[Examples], config: SFTConfig) -> int:
    """Train in place behind a progress bar; returns the seconds it took."""
    start = time.perf_counter()
    with Progress() as progress:
        task = progress.add_task(f"{name}: training", total=config.steps)

        def show(step: int, loss: float) -> None:
            progress.update(task, completed=step + 1, description=f"{name}: loss {loss:.3f}")

        train(model, data, config, on_step=show)
    return round(time.perf_counter() - start)


def score(
    model: Qwen3ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Mapping[str, Any]],
    verify: Verifier,
    *,
    max_new_tokens: int,
    samples: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Greedy and sampled scores on rows with `prompt` and `answer`; all samples are drawn in one batch.

    Returns:
        `n` rows; `greedy` accuracy; `sampled` accuracy at temperature 1; the share of rows with a right one among
        `samples` completions; mean and largest number of sampled tokens.
    """
    greedy = judge(complete(model, tokenizer, _prompts(rows), max_new_tokens=max_new_tokens), rows, verify)
    many = [row for row in rows for _ in range(samples)]
    completed = complete(model, tokenizer, _prompts(many), max_new_tokens=max_new_tokens, sampled=True, seed=seed)
    sampled = judge(completed, many, verify)
    right = [verify(text, row["answer"]).correct for text, row in zip(completed.texts, many, strict=True)]
    solved = [any(right[start : start + samples]) for start in range(0, len(right), samples)]
    return {
        "n": len(rows),
        "greedy": round(greedy.correct, 4),
        "sampled": round(sampled.correct, 4),
        f"pass@{samples}": round(sum(solved) / len(solved), 4),
        "mean_tokens": round(sampled.mean_length, 1),
        "max_tokens": sampled.max_length,
    }


def write_card(
    directory: Path,
    *,
    name: str,
    training_seconds: int,
    command: str,
    parameters: int,
    facts: Mapping[str, Any],
    config: Any,
    training: Any,
) -> dict[str, Any]:
    """Say in `card.json` what a model scores and how it was made.

    Args:
        directory: Of the model.
        name: In the zoo.
        training_seconds: Without making the files.
        command: What remakes it.
        parameters: Number of weights.
        facts: What it scores, `accuracy` among them.
        config: Has the `seed` and the `threads`.
        training: A dataclass with all other settings.
    """
    card = {
        "name": name,
        "training_seconds": training_seconds,
        "command": command,
        "parameters": parameters,
        **facts,
        "seed": config.seed,
        "threads": config.threads,
        "training": asdict(training),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    (directory / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return card


@contextlib.contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A directory to fill, which becomes `out` when everything is ready, or disappears.

    Raises:
        ValueError: `out` exists.
    """
    if out.exists():
        raise ValueError(f"out is {out}, which exists; remove it or choose another directory")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        ready = Path(scratch) / out.name
        yield ready
        ready.rename(out)


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set torch's number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check_share(name: str, value: float) -> None:
    """Reject what is no probability, with one sentence."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; expected a number from 0 to 1")


def _prompts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["prompt"] for row in rows]
