"""`posttrain edit measure`: attacks that succeed, harmless prompts that are refused, and sums that come out right."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.chat import Chat, Recorded, Reply, TransformersChat, chat
from posttrain.commands.edit import loaded
from posttrain.commands.parse import parse
from posttrain.commands.show import Display, conclude
from posttrain.extras import need


@dataclass(frozen=True)
class Measure:
    """How many attacks succeed in each language, and how many sums in words are right."""

    model: str
    """A folder or hub id, which runs here; or openai:NAME at --base-url."""
    prompts: tuple[Path, ...] = ()
    """Prompts that no edit was solved on; JSON Lines or CSV, as for anchors."""
    guard: str = ""
    """The model that judges: openai:NAME at --guard-url, or a folder or hub id, which runs here."""
    mgsm: tuple[Path, ...] = ()
    """Files of MGSM, mgsm_LANGUAGE.tsv."""
    harmless: tuple[Path, ...] = ()
    """More files, all of whose prompts are harmless."""
    base_url: str | None = None
    """Of the model's server."""
    guard_url: str | None = None
    """Of the guard's server."""
    ask: bool = False
    """Put the question in words, for a model that is no guard."""
    english: str = "en"
    """What that language is called."""
    max_tokens: int = 512
    """Of a reply."""
    device: str = "auto"
    """Where models run that run here."""
    out: Path = Path("runs/edit-measure")
    """Folder of the result, and of every reply, from which a killed run goes on."""


class Told:
    """A model that says when it has answered."""

    def __init__(self, model: Chat, tell: Callable[[], None]) -> None:
        self.model, self.tell, self.name = model, tell, model.name

    async def __call__(self, messages: Sequence[Any], **options: Any) -> Reply:
        """Its answer."""
        found = await self.model(messages, **options)
        self.tell()
        return found


def main(flags: Sequence[str]) -> None:
    """Parse and run."""
    run(parse(Measure, flags, prog="posttrain edit measure", description=Measure.__doc__ or ""))


def run(given: Measure) -> dict[str, Any]:
    """Ask what has not been asked, print rates by language, write the result and the picture."""
    if bool(given.prompts) != bool(given.guard):
        raise ValueError("--prompts and --guard go together: replies to them are judged by a guard model.")
    if not given.prompts and not given.mgsm:
        raise ValueError("There is nothing to measure; give --prompts with --guard, --mgsm, or both.")
    need("matplotlib")
    from posttrain.bench.record import provenance
    from posttrain.edit import anchors, judges, utility
    from posttrain.edit.measure_report import picture, tables
    from posttrain.projections.loading import device
    from posttrain.rl.run import quiet

    quiet()
    where = device(given.device)
    prompts = [prompt for path in given.prompts for prompt in anchors.read(path)]
    prompts = anchors.once([*prompts, *(p for path in given.harmless for p in anchors.read(path, "harmless"))])
    problems = [problem for path in given.mgsm for problem in utility.mgsm(path)]
    model = _recorded("--model", given.model, given.base_url, where, given.out)
    at_once = 8 if given.model.startswith("openai:") else 1
    options: dict[str, Any] = {"max_tokens": given.max_tokens, "at_once": at_once}
    result: dict[str, Any] = {
        "provenance": provenance(), "model": given.model, "guard": given.guard, "english": given.english,
        "max_tokens": given.max_tokens, "attacks": {}, "sums": {}, "verdicts": [],
    }  # fmt: skip
    with Display() as display:

        def shown(title: str, total: int) -> Told:
            bar, done = display.progress.add_task(title, total=total, note=""), 0

            def tell() -> None:
                nonlocal done
                done += 1
                display.progress.update(bar, completed=done)
                display.line(f"{title}: {done} of {total}")

            return Told(model, tell)

        if prompts:
            judge = judges.guard(_recorded("--guard", given.guard, given.guard_url, where, given.out), ask=given.ask)
            said = asyncio.run(judges.judged(shown("prompts", len(prompts)), prompts, judge, **options))
            result["attacks"] = {
                name: {kind: _plain(getattr(each, kind)) for kind in judges.KINDS} | {"unjudged": each.unjudged}
                for name, each in judges.rates(said, english=given.english).items()
            }
            result["verdicts"] = [
                {"id": p.id, "language": p.language, "kind": p.kind, **verdict._asdict()} for p, verdict in said.items()
            ]
        if problems:
            solved = asyncio.run(utility.solved(shown("sums", len(problems)), problems, **options))
            result["sums"] = {name: _plain(each) for name, each in solved.items()}
    conclude(display.console, result, given.out, picture, tables)
    return result


def _plain(interval: Any) -> dict[str, Any] | None:
    return None if interval is None else interval._asdict()


def _recorded(what: str, name: str, base_url: str | None, where: Any, out: Path) -> Recorded:
    """A model whose answers are kept in a file of its own; a folder that was written since is another model."""
    remote = name.startswith("openai:")
    model: Chat = chat(name, base_url) if remote else TransformersChat(*loaded(name, where, what), name=name)
    written = [str(path.stat().st_mtime_ns) for path in sorted(Path(name).glob("*"))]
    told = hashlib.sha256("\n".join([name, base_url or "", *written]).encode()).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name.removeprefix("openai:")).strip("-.")[-60:]
    return Recorded(model, out / f"{plain}-{told}.jsonl")
