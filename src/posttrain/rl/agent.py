"""An agent in a world: episodes of many turns, as one row each or as one row per turn.

    recipe = agent(worlds=Crowd(Corridor), form="window", window=2) | hgpo(depth=2)

`full`: the dialogue is opened once and grows; an episode is one row, and what the world says is not trained. `window`:
every turn has a prompt of its own with the last `window` turns, and is a row of its own, as HGPO's and EMPO2's authors
train. In both, what was sampled is what is trained: ids are never made from text again.

An episode whose world raises, is late or shows nothing is dropped: it is unscored, it is counted, and the others go
on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from posttrain.rl.batch import Acted, Row, Sampled, Sampler, Task, Turn
from posttrain.rl.method import Method
from posttrain.tasks.worlds.crowd import Failure, Seen
from posttrain.tasks.worlds.view import Past, TextView, View

if TYPE_CHECKING:
    from posttrain.rl.recipe import Recipe

Form = Literal["full", "window"]


class Worlds(Protocol):
    """Where episodes take place, side by side; a `Crowd` is one."""

    def reset(self, tasks: Sequence[Mapping[str, Any]]) -> list[Seen | Failure]:
        """Begin one episode per task, on seats 0, 1, 2, ..."""
        ...

    def step(self, moves: Mapping[int, str]) -> dict[int, Seen | Failure]:
        """Act on some seats."""
        ...


NOWHERE = "This agent has no worlds to act in; give it worlds=Crowd(...), or --task a world."


class Nowhere:
    """No worlds yet."""

    def reset(self, tasks: Sequence[Mapping[str, Any]]) -> list[Seen | Failure]:
        """Raises."""
        raise ValueError(NOWHERE)

    def step(self, moves: Mapping[int, str]) -> dict[int, Seen | Failure]:
        """Never called."""
        return {}


class Guide:
    """What episodes are told besides what they see; nothing, unless a memory stands behind it."""

    forgets = False
    """Whether turns are trained after their prompts without tips."""

    def tips(self, live: Sequence[Episode]) -> list[list[str]]:
        """The tips of each episode at this turn."""
        return [[] for _ in live]


@dataclass
class Episode:
    """An episode as it is played."""

    task: Task
    seat: int
    """Its place among the worlds."""
    seen: Seen | Failure
    past: list[Past] = field(default_factory=list)
    """What was seen and done so far."""
    turns: list[Turn] = field(default_factory=list)
    """The same as it was sampled."""
    prompt_ids: list[int] = field(default_factory=list)
    """The opening of the dialogue, or the first turn's prompt."""
    ids: list[int] = field(default_factory=list)
    """The dialogue after its opening; in `window` form the last action."""
    turn_of: list[int] = field(default_factory=list)
    """The turn of each of `ids`, -1 for what the world said."""
    inadmissible: int = 0
    """Actions that were not among those listed."""
    spent: bool = False
    """Whether the token budget is used up."""

    @property
    def live(self) -> bool:
        """Whether it goes on."""
        return isinstance(self.seen, Seen) and not self.seen.done and not self.spent

    @property
    def dropped(self) -> bool:
        """Whether its world failed."""
        return isinstance(self.seen, Failure)

    @property
    def won(self) -> bool:
        """Whether its task is solved."""
        return isinstance(self.seen, Seen) and self.seen.won

    @property
    def earned(self) -> float:
        """The rewards of all turns."""
        return sum(turn.acted.reward for turn in self.turns)

    @property
    def text(self) -> str:
        """What was seen and done, for people."""
        return "\n".join(line for turn in self.past for line in (turn.observation, f"> {turn.action}"))

    @property
    def story(self) -> str:
        """The same with what was seen last."""
        return f"{self.text}\n{self.seen.observation}" if isinstance(self.seen, Seen) else self.text


def environment(row: Row) -> float:
    """The reward of an episode: what its turns earned less their fines; NaN if it was dropped."""
    if row.verdict is None:
        raise ValueError("This row was not made by agent(...), so no environment has judged it.")
    return math.nan if math.isnan(row.verdict) else sum(turn.acted.reward - turn.acted.fine for turn in row.turns)


@dataclass(frozen=True)
class Agent(Method):
    """Plays episodes; how they are credited is another method's part."""

    name = "agent"
    paper = "posttrain"
    episodic = True

    worlds: Worlds = field(default_factory=Nowhere)
    """Where the episodes take place."""
    form: Form = "window"
    """One row per turn with the last turns in its prompt, or one row per episode."""
    window: int = 2
    """Turns that lie behind in a prompt, in `window` form (HGPO: 2 and 4)."""
    turns: int = 30
    """Longest episode (HGPO: 50 in ALFWorld; EMPO2: 30 in ScienceWorld)."""
    turn_tokens: int = 32
    """Longest action in tokens (EMPO2: 32; HGPO: 512 with its reasoning)."""
    budget: int = 4500
    """Tokens of a whole episode, prompt included, in `full` form (EMPO2: 4500)."""
    invalid: Literal["pass", "snap"] = "pass"
    """What becomes of an action that is not admissible: the world answers it, or the admissible one with the most
    words in common is done instead (EMPO2's environment)."""
    fine: float = 0.0
    """Taken from the return of a turn whose action is not admissible, in whatever case it is written (HGPO: 0.1)."""
    view: View = field(default_factory=TextView)
    """How prompts are written and actions are read."""

    def __post_init__(self) -> None:
        _ = self.settings
        if self.form not in ("full", "window"):
            raise ValueError(f"form={self.form!r} is unknown; use 'full' or 'window'.")
        if self.invalid not in ("pass", "snap"):
            raise ValueError(f"invalid={self.invalid!r} is unknown; use 'pass' or 'snap'.")
        if self.window < 0:
            raise ValueError(f"window={self.window} must not be negative; 0 shows the present alone.")
        for name in ("turns", "turn_tokens", "budget"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if not 0 <= self.fine < math.inf:
            raise ValueError(f"fine={self.fine} must be finite and not negative; HGPO uses 0.1.")

    def check(self, recipe: Recipe) -> list[str]:
        """There are worlds, and they list their actions if this agent needs them to."""
        if isinstance(self.worlds, Nowhere):
            raise ValueError(NOWHERE)
        if not getattr(self.worlds, "listed", True) and (self.invalid == "snap" or self.fine):
            raise ValueError(
                "invalid='snap' and fine need the admissible actions, which these worlds do not list; use "
                "Crowd(listed=True)."
            )
        return []

    async def rollout(self, tasks: Sequence[Task], sampler: Sampler, state: Any) -> list[Row]:
        """One episode per task."""
        episodes, share = await self.timed(tasks, sampler, Guide())
        return [self.row(episode, {"world_share": share}) for episode in episodes]

    async def timed(self, tasks: Sequence[Task], sampler: Sampler, guide: Guide) -> tuple[list[Episode], float]:
        """The episodes, and the share of the time that went into anything but sampling."""
        began, sampling = time.perf_counter(), Stopwatch(sampler)
        episodes = await self.play(tasks, sampling, guide)
        return episodes, 1 - sampling.seconds / max(time.perf_counter() - began, 1e-9)

    def diagnose_rows(self, rows: Sequence[Row]) -> dict[str, Sequence[float]]:
        """How episodes went: won, earned, turns, dropped, inadmissible actions, time outside sampling."""
        names = ("won", "earned", "turns", "dropped", "inadmissible", "world_share")
        return {f"agent/{name}": [float(row.notes.get(name, math.nan)) for row in rows] for name in names}

    async def play(self, tasks: Sequence[Task], sampler: Sampler, guide: Guide | None = None) -> list[Episode]:
        """Play all episodes side by side, until each is over or has had `turns` turns."""
        guide = guide or Guide()
        seen = self.worlds.reset([task.row for task in tasks])
        episodes = [Episode(task, seat, first) for seat, (task, first) in enumerate(zip(tasks, seen, strict=True))]
        if self.form == "full":
            for episode in episodes:
                self._open(episode, sampler)
        for _ in range(self.turns):  # every process samples equally often
            live = [episode for episode in episodes if episode.live]
            tips = guide.tips(live)
            prompts = [self._context(e, told, sampler) for e, told in zip(live, tips, strict=True)]
            plain = [
                self._context(e, (), sampler) if guide.forgets and told else None
                for e, told in zip(live, tips, strict=True)
            ]
            samples = await sampler(prompts, max_tokens=self.turn_tokens)
            self._act(live, prompts, samples, plain, sampler)
        return episodes

    def _context(self, episode: Episode, tips: Sequence[str], sampler: Sampler) -> list[int]:
        """The ids that the next action is sampled after."""
        seen, task = episode.seen, text_of(episode.task.prompt)
        assert isinstance(seen, Seen)
        if self.form == "window":
            past = episode.past[-self.window :] if self.window else []
            return sampler.encode(self.view.window(task, past, seen.observation, seen.actions, tips))
        return [*episode.prompt_ids, *episode.ids]

    def _open(self, episode: Episode, sampler: Sampler) -> None:
        """Write the opening of a dialogue; an episode for which it is too long is dropped."""
        if isinstance(seen := episode.seen, Failure):
            return
        task = text_of(episode.task.prompt)
        episode.prompt_ids = sampler.encode(self.view.opening(task, seen.observation, seen.actions))
        if len(episode.prompt_ids) + self.turn_tokens > self.budget:
            episode.seen = Failure(
                "long",
                f"the first prompt has {len(episode.prompt_ids)} tokens, which with an action of {self.turn_tokens} "
                f"exceed budget={self.budget}; raise the budget, or use form='window'",
            )

    def _act(
        self,
        live: Sequence[Episode],
        prompts: Sequence[list[int]],
        samples: Sequence[Sampled],
        plain: Sequence[list[int] | None],
        sampler: Sampler,
    ) -> None:
        """Do the sampled actions, and write down what came of them."""
        moves, invalid = dict[int, str](), dict[int, bool]()
        for episode, sample in zip(live, samples, strict=True):
            action, admitted = self._action(self.view.action(sampler.decode(sample.ids)), episode)
            moves[episode.seat], invalid[episode.seat] = action, not admitted
        answers = self.worlds.step(moves) if moves else {}
        for episode, prompt, sample, without in zip(live, prompts, samples, plain, strict=True):
            before, seat = episode.seen, episode.seat
            assert isinstance(before, Seen)
            episode.seen = after = answers[seat]
            if isinstance(after, Failure):
                continue
            acted = Acted(before.state, after.reward, self.fine if invalid[seat] else 0.0)
            episode.past.append(Past(before.observation, moves[seat]))
            after_this = None if without == prompt else without
            episode.turns.append(Turn(prompt, sample.ids, sample.logps, acted, after_this))
            episode.inadmissible += invalid[seat]
            self._write_down(episode, prompt, sample, sampler)

    def _action(self, written: str, episode: Episode) -> tuple[str, bool]:
        """The action that is done, and whether the written one is admissible."""
        assert isinstance(episode.seen, Seen)
        listed = episode.seen.actions
        same = next((action for action in listed if action.lower() == written.lower()), None)
        if not listed or same is not None:
            return same or written, True
        return (nearest(written, listed) if self.invalid == "snap" else written), False

    def _write_down(self, episode: Episode, prompt: list[int], sample: Sampled, sampler: Sampler) -> None:
        """Add a turn, and what the world said, to the row."""
        if self.form == "window":
            episode.prompt_ids = episode.prompt_ids or prompt
            episode.ids, episode.turn_of = sample.ids, []
            return
        episode.ids = [*episode.ids, *sample.ids]
        episode.turn_of = [*episode.turn_of, *[len(episode.turns) - 1] * len(sample.ids)]
        if episode.live:
            assert isinstance(episode.seen, Seen)
            addition = bridge(sampler, self.view.then(episode.seen.observation, episode.seen.actions), sample)
            total = len(episode.prompt_ids) + len(episode.ids) + len(addition) + self.turn_tokens
            episode.spent = total > self.budget
            if episode.spent:
                return
            episode.ids = [*episode.ids, *addition]
            episode.turn_of = [*episode.turn_of, *[-1] * len(addition)]

    def row(self, episode: Episode, notes: dict[str, Any] | None = None) -> Row:
        """The episode as a row."""
        ids, turn_of = episode.ids, episode.turn_of
        prompt_ids = episode.prompt_ids or [0]
        if not ids or episode.dropped:
            ids, turn_of = prompt_ids[-1:], [-1]
        kept = len(turn_of) - next((i for i, turn in enumerate(reversed(turn_of)) if turn >= 0), 0)
        ids, turn_of = (ids[:kept], turn_of[:kept]) if turn_of else (ids, turn_of)
        return Row(
            prompt_ids=prompt_ids,
            ids=ids,
            logps=self._logps(episode, turn_of),
            group=episode.task.group,
            task=episode.task.row,
            prompt=episode.task.prompt,
            completion=episode.text,
            turns=episode.turns,
            by_turn=self.form == "window",
            turn_of=turn_of,
            verdict=math.nan if episode.dropped else float(episode.won),
            notes={
                **(notes or {}),
                "won": math.nan if episode.dropped else float(episode.won),
                "earned": math.nan if episode.dropped else episode.earned,
                "turns": len(episode.turns),
                "dropped": float(episode.dropped),
                "inadmissible": episode.inadmissible / max(len(episode.turns), 1),
                **({"failure": str(episode.seen.what)} if isinstance(episode.seen, Failure) else {}),
            },
        )

    def _logps(self, episode: Episode, turn_of: Sequence[int]) -> list[float]:
        """(T,) as sampled, 0 on tokens of the environment; () where the engine gives none."""
        if not turn_of:
            return list(episode.turns[-1].logps)
        found = iter([logp for turn in episode.turns for logp in turn.logps])
        known = sum(len(turn.logps) for turn in episode.turns) == sum(turn >= 0 for turn in turn_of)
        return [next(found) if turn >= 0 else 0.0 for turn in turn_of] if known else []


class Stopwatch:
    """A sampler that counts the seconds it takes."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.seconds = sampler, 0.0
        self.rank, self.ranks, self.training = sampler.rank, sampler.ranks, sampler.training
        self.encode, self.decode, self.judge = sampler.encode, sampler.decode, sampler.judge

    async def __call__(self, prompt_ids: Sequence[list[int]], **chosen: Any) -> list[Sampled]:
        """One completion per prompt."""
        began = time.perf_counter()
        found = await self.sampler(prompt_ids, **chosen)
        self.seconds += time.perf_counter() - began
        return found


def text_of(prompt: Any) -> str:
    """A prompt's text, or that of its last message."""
    if prompt and isinstance(prompt[0], int):
        raise ValueError("An agent writes its prompts as text, but this task is token ids; give text or messages.")
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


def nearest(written: str, listed: Sequence[str]) -> str:
    """The listed action with the largest share of words in common; the first of equals."""
    words = set(written.lower().split())

    def jaccard(action: str) -> float:
        theirs = set(action.lower().split())
        return len(words & theirs) / max(len(words | theirs), 1)

    return max(listed, key=jaccard)


def bridge(sampler: Sampler, addition: Any, sample: Sampled) -> list[int]:
    """The ids between a sampled action and the next one: what closes the action, and what the world said.

    Args:
        sampler: Its `encode` writes messages as the model's chat template does.
        addition: Text, or messages.
        sample: The action before it.

    Raises:
        ValueError: The chat template rewrites what stands before a message, so a dialogue cannot grow.
    """
    if isinstance(addition, str):
        ids, before = sampler.encode(addition), sampler.encode("")
        return ids[len(before) :] if before and ids[: len(before)] == before else ids
    opening = [{"role": "user", "content": "a"}]
    start, said = sampler.encode(opening), sampler.encode("b")
    special = sampler.encode("")
    said = said[len(special) :] if special and said[: len(special)] == special else said
    whole = sampler.encode([*opening, {"role": "assistant", "content": "b"}, *addition])
    if whole[: len(start) + len(said)] != [*start, *said]:
        raise ValueError(
            "This model's chat template rewrites earlier messages, so an episode cannot be one growing dialogue; "
            "use form='window'."
        )
    rest = whole[len(start) + len(said) :]
    return rest[1:] if sample.finish == "stop" and sample.ids[-1:] == rest[:1] else rest
