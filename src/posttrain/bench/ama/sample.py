"""AMA-Bench's own episodes as logs, with the turns that questions and answers cite as evidence."""

from __future__ import annotations

from pathlib import Path

from posttrain.bench.ama.data import Episode, load
from posttrain.bench.ama.log import KINDS, Kind, Log, Question
from posttrain.bench.ama.silver import Silver, silver

KIND: dict[str, Kind] = {kind: kind for kind in KINDS}


def logs(path: Path) -> list[Log]:
    """All episodes of a file or folder.

    Raises:
        ValueError: There is none, or it cannot be read.
    """
    return [log(episode) for episode in load(path)]


def log(episode: Episode) -> Log:
    """An episode; a question that cites no turn has no evidence and counts for readers only."""
    labels = {label.index: label for label in silver(episode)}
    questions = tuple(
        _question(f"{each.type}{index}", each.type, each.question, each.answer, labels.get(index))
        for index, each in enumerate(episode.questions)
    )
    return Log(episode.name, "sample", episode.domain, "all", episode.task, episode.turns, questions)


def _question(name: str, kind: str, text: str, answer: str, label: Silver | None) -> Question:
    cited = label.all if label else ()
    new = set(label.new) if label else set()
    named = tuple(turn for turn in cited if turn not in new)
    needle = tuple((turn,) for turn in cited)
    return Question(name, KIND[kind], "", {"named": named}, text, answer, needle)
