"""A small policy that scores the admissible commands of a prompt, for the reference loop.

It reads what `TextView` writes. A prompt's ids are hashed words, once as they are and once with their age in turns,
then `SEPARATOR`, then one id per admissible command; a completion is the id of one command.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from posttrain.rl.batch import Row, Sampled
from posttrain.tasks.worlds.view import ACTIONS, SEPARATOR

COMMANDS = -1
"""The id that stands before a prompt's commands."""
OLDEST = 4
"""Words of this age in turns, or older, are alike."""


class CommandPolicy(nn.Module):
    """Mean embeddings of the prompt's words and of a command's, and a perceptron that scores them together.

    Args:
        width: Of the embeddings and of the hidden layer.
        buckets: Words are hashed to so many embeddings.
        seed: Of the initial weights.
    """

    def __init__(self, width: int = 64, buckets: int = 4096, seed: int = 0) -> None:
        super().__init__()
        self.buckets = buckets
        self.commands: list[str] = []
        self._words_of: list[list[int]] = []
        self._places: dict[str, int] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.words = nn.EmbeddingBag(buckets, width, mode="mean")
            last = nn.Linear(width, 1)
            self.head = nn.Sequential(nn.Linear(3 * width, width), nn.ReLU(), last)
            nn.init.zeros_(last.weight)  # every command is equally likely at first
            nn.init.zeros_(last.bias)

    def encode(self, prompt: str) -> list[int]:
        """Ids of the words, then of the commands.

        Raises:
            ValueError: The prompt lists no admissible actions.
        """
        told, _, listed = prompt.rpartition(ACTIONS)
        if not told:
            raise ValueError(
                f"This prompt lists no admissible actions (a line {ACTIONS.strip()!r}), among which this policy "
                "chooses; use a world that lists them, TextView(list_actions=True) and form='window'."
            )
        ids, age = list[int](), 0
        for line in reversed(told.splitlines()):
            age += line.startswith("> ")
            ids += _words(line, min(age, OLDEST), self.buckets)
        listed = listed.removesuffix("\n> ")
        return [*ids, COMMANDS, *(self._command(command) for command in listed.split(SEPARATOR))]

    def decode(self, ids: Sequence[int]) -> str:
        """The command."""
        return self.commands[ids[0]]

    async def sample(
        self, prompt_ids: list[list[int]], *, max_tokens: int, temperature: float, seed: int
    ) -> list[Sampled]:
        """One command per prompt; the same seed gives the same commands."""
        if not prompt_ids:
            return []
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            logp = (self._logits(prompt_ids) / temperature).log_softmax(-1)
        places = torch.multinomial(logp.exp(), 1, generator=generator).squeeze(1).tolist()
        return [
            Sampled([_commands(ids)[place]], [row[place].item()], "stop")
            for ids, place, row in zip(prompt_ids, places, logp, strict=True)
        ]

    def score(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities, entropies and mask of the rows' commands, (B, 1) each, with gradient."""
        logp = self._logits([row.prompt_ids for row in rows]).log_softmax(-1)
        chosen = torch.tensor([_place(row) for row in rows]).unsqueeze(1)
        entropy = -torch.where(logp.isinf(), 0.0, logp.exp() * logp).sum(-1, keepdim=True)
        return logp.gather(1, chosen), entropy, torch.ones_like(entropy)

    def _logits(self, prompt_ids: Sequence[list[int]]) -> Tensor:
        """(B, commands of the longest list), minus infinity past the end of a list."""
        listed = [_commands(ids) for ids in prompt_ids]
        contexts = self._bag([ids[: -len(commands) - 1] for ids, commands in zip(prompt_ids, listed, strict=True)])
        number = torch.tensor([len(commands) for commands in listed])
        different = {command: i for i, command in enumerate(dict.fromkeys(c for found in listed for c in found))}
        embedded = self._bag([self._words_of[command] for command in different])
        chosen = embedded[[different[command] for found in listed for command in found]]
        context = torch.repeat_interleave(contexts, number, dim=0)
        scores = self.head(torch.cat([context, chosen, context * chosen], dim=1)).squeeze(1)
        mask = torch.arange(max(int(number.max()), 1)) < number.unsqueeze(1)
        logits = torch.full(mask.shape, -math.inf)
        logits[:, 0] = 0.0  # stays where an episode failed before its first prompt
        return logits.masked_scatter(mask, scores)

    def _bag(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """(texts, width): mean embeddings."""
        lengths = torch.tensor([0, *(len(ids) for ids in texts[:-1])]).cumsum(0)
        return self.words(torch.tensor([i for ids in texts for i in ids], dtype=torch.long), lengths)

    def get_extra_state(self) -> list[str]:
        """The commands by id, saved with the weights."""
        return self.commands

    def set_extra_state(self, state: list[str]) -> None:
        """The commands of a saved policy."""
        self.commands, self._words_of, self._places = [], [], {}
        for command in state:
            self._command(command)

    def _command(self, command: str) -> int:
        """The id of a command, a new one if it was never seen."""
        if command not in self._places:
            self._places[command] = len(self.commands)
            self.commands.append(command)
            words = (*command.lower().split(), f"whole: {command}")
            self._words_of.append([_hash(word, self.buckets) for word in words])
        return self._places[command]


@lru_cache(maxsize=1 << 14)
def _words(line: str, age: int, buckets: int) -> tuple[int, ...]:
    """Ids of a line's words, each as it is and with its age; the lines of a world come again and again."""
    return tuple(_hash(form, buckets) for word in line.lower().split() for form in (word, f"{age} {word}"))


def _hash(word: str, buckets: int) -> int:
    return zlib.crc32(word.encode()) % buckets


def _commands(ids: Sequence[int]) -> list[int]:
    """The commands of a prompt; none where an episode failed before its first one."""
    return list(ids[ids.index(COMMANDS) + 1 :]) if COMMANDS in ids else []


def _place(row: Row) -> int:
    """Where the chosen command stands in its prompt's list; 0 for a row that is not trained."""
    listed = _commands(row.prompt_ids)
    return listed.index(row.ids[0]) if row.ids[0] in listed else 0
