"""What an episode costs: tokens of the two forms of context, and the share of a rollout that the world takes.

The first walks 30 random steps in ScienceWorld (scripted) and writes the episode down in both forms. The second rolls
out 16 episodes of TextWorld by a random transformer under TRL and takes what the rollout itself logs. Their texts are
split by a tokenizer that is trained on the spot.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.utils import logging
from trl import GRPOConfig

from posttrain.rl import Agent, Row, Sampled, Task, agent, hgpo
from posttrain.rl.engines.trl import RecipeTrainer
from posttrain.rl.turns import unrolled
from posttrain.tasks.worlds.crowd import Crowd
from posttrain.tasks.worlds.view import TextView

STEPS, WINDOW, EPISODES = 30, 4, 16
VOCABULARY = 1000


def measure() -> dict[str, Any]:
    """Both figures and their bounds; what cannot be run here says why."""
    return {"context_forms": _forms(), "world_share": _share()}


def rows(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Lines of the table: what, measured, at most; those of ScienceWorld only where there is Java."""
    titles = {
        ("context_forms", "full_over_window"): "episode of 30 steps, tokens of full / window form",
        ("world_share", "share"): "rollout of 16 episodes, share of the world",
    }
    return [
        (title, found[key][value], found[key]["at_most"])
        for (key, value), title in titles.items()
        if "skipped" not in found[key]
    ]


def _forms() -> dict[str, Any]:
    if shutil.which("java") is None:
        return {"skipped": "ScienceWorld needs Java"}
    from posttrain.tasks.worlds.scienceworld import ScienceWorld, rows

    row = rows("boil", limit=1)[0]
    with Crowd(ScienceWorld) as worlds:
        base = Agent(worlds=worlds, window=WINDOW, turns=STEPS, budget=10**6, view=TextView(list_actions=False))
        texts = _played(base, row, Walker([]))
        split = tokenizer([texts.completion])
        found = {form: _played(replace(base, form=form), row, Walker(split)) for form in ("full", "window")}
    tokens = {
        form: sum(len(turn.prompt_ids) + len(turn.ids) for turn in unrolled([episode]).rows)
        for form, episode in found.items()
    }
    return {
        "full_over_window": round(tokens["full"] / tokens["window"], 4),
        "at_most": 0.3333,
        "tokens_full": tokens["full"],
        "tokens_window": tokens["window"],
        "setting": f"ScienceWorld, boil, {len(found['full'].turns)} steps at random (scripted), window of {WINDOW}",
    }


def _share() -> dict[str, Any]:
    from posttrain.tasks.worlds.textworld import TextWorld, coin_collector

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    rows = coin_collector(5, seeds=range(4))
    text = tokenizer([TextWorld().reset(row) for row in rows])
    recipe = agent(worlds=Crowd(TextWorld, threads=1), form="full", turns=20, turn_tokens=8, budget=4000) | hgpo(
        kl_beta=0
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = RecipeTrainer(
            model(len(text)), None,
            GRPOConfig(folder, per_device_train_batch_size=EPISODES, num_generations=4, max_steps=3, logging_steps=1,
                       report_to=[], disable_tqdm=True, use_cpu=True, bf16=False, save_strategy="no"),
            recipe=recipe, train_dataset=Dataset.from_list(rows), processing_class=text,
        )  # fmt: skip
        trainer.train()
    shares = [line["agent/world_share"] for line in trainer.state.log_history if "agent/world_share" in line]
    return {
        "share": round(sorted(shares)[len(shares) // 2], 4),
        "at_most": 0.3,
        "by_generation": [round(share, 4) for share in shares],
        "setting": f"{EPISODES} episodes of coin collector side by side, actions of at most 8 tokens, Qwen3 of "
        f"{trainer.model.num_parameters() / 1e6:.1f} M parameters, one thread",
    }


class Walker:
    """A sampler that walks at random; its n-th action is the same in both forms."""

    rank, ranks, training, judge = 0, 1, True, None

    def __init__(self, split: Any) -> None:
        self.split, self.coin = split, random.Random(0)

    async def __call__(self, prompt_ids: Sequence[list[int]], **_: Any) -> list[Sampled]:
        verb = self.coin.choice(("look around", "inventory", "go to hallway", "open door to hallway", "go to kitchen"))
        return [Sampled(self.encode(verb), [], "stop") for _ in prompt_ids]

    def encode(self, prompt: str) -> list[int]:
        return self.split(prompt)["input_ids"] if self.split else list(prompt.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return self.split.decode(list(ids)) if self.split else bytes(ids).decode()


def _played(method: Agent, row: dict[str, Any], walker: Walker) -> Row:
    """One episode."""
    (found,) = asyncio.run(method.rollout([Task(row["prompt"], 0, 0, row)], walker, None))
    return found


def tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Byte pairs of these texts."""
    core = Tokenizer(models.BPE(unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        _lines(texts),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet, show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


def _lines(texts: list[str]) -> Iterator[str]:
    for text in texts:
        yield from text.splitlines()


def model(vocabulary: int) -> Qwen3ForCausalLM:
    """A random Qwen3."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary, hidden_size=192, intermediate_size=576, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=4, head_dim=48, eos_token_id=1, pad_token_id=0, bos_token_id=None,
            max_position_embeddings=4096,
        )
    )  # fmt: skip
