"""What the server can do, whatever the way in: arguments checked, rights checked, run in a thread, evidence marked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from posttrain.memory.added import Refused, UnknownRun
from posttrain.memory.answer import Answer
from posttrain.memory.memory import Memory
from posttrain.memory.retrieval.scan import LANGUAGE
from posttrain.memory.server.arguments import (
    Add,
    Arguments,
    Ask,
    AsOf,
    Nothing,
    OfRun,
    Scan,
    Timeline,
    Why,
    checked,
    sentence,
)
from posttrain.memory.server.replies import Reply, added, answer_of, listed
from posttrain.memory.server.rights import Forbidden, Rights

T = TypeVar("T")

WORKERS = 8
"""Threads that use the memory at a time; further calls wait."""

log = logging.getLogger("posttrain.memory.server")


class Failed(Exception):
    """A call that was not carried out.

    Args:
        sentence: Why, and what to do.
        status: As HTTP says it.
    """

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(" ".join(sentence.split()))
        self.status = status


@dataclass(frozen=True)
class Tool:
    """One thing that a client can have done."""

    name: str
    description: str
    """For the model that decides to call it."""
    arguments: type[Arguments]
    work: Callable[[Memory, Any, Rights], Reply]
    reads: bool = True
    """Whether it changes nothing."""


class Tools:
    """The tools over one memory.

    Args:
        memory: Stays its owner's to close, after `close` here.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="memory")

    async def call(self, name: str, arguments: Mapping[str, Any] | bytes, rights: Rights) -> Reply:
        """Carry out one tool.

        What was begun is finished, even if the caller goes away.

        Args:
            name: Of a tool in `TOOLS`.
            arguments: As Python has them, or as JSON.
            rights: Of the caller.

        Raises:
            Failed: One sentence that says why not.
        """
        return await self.apart(lambda: self._call(TOOLS[name], arguments, rights))

    async def apart(self, work: Callable[[], T]) -> T:
        """Run in a thread of the pool; errors as `Failed`."""
        future = asyncio.wrap_future(self._pool.submit(work))
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # the caller may be gone by then
        await asyncio.wait([future])
        error = future.exception()
        if error is None:
            return future.result()
        raise _failed(error) from None

    def close(self) -> None:
        """Finish what was begun."""
        self._pool.shutdown(wait=True)

    def _call(self, tool: Tool, arguments: Mapping[str, Any] | bytes, rights: Rights) -> Reply:
        given = checked(tool.arguments, arguments)
        if isinstance(given, OfRun):
            rights.check(given.run, write=not tool.reads)
        return tool.work(self.memory, given, rights)


def _failed(error: BaseException) -> Failed:
    """What the caller is told; what nobody expected is logged, and not told."""
    if isinstance(error, Failed):
        return error
    if isinstance(error, ValidationError):
        return Failed(sentence(error), 400)
    for kind, status in STATUS.items():
        if isinstance(error, kind):
            return Failed(str(error), status)
    log.error("A call failed.", exc_info=error)
    return Failed("The server failed at this call; its log says where.", 500)


STATUS: dict[type[BaseException], int] = {Forbidden: 403, UnknownRun: 404, Refused: 409, ValueError: 400, OSError: 503}
"""The first that an error is."""


def _add(memory: Memory, given: Add, _: Rights) -> Reply:
    return added(memory.add(given.run, given.turn, action=given.action, observation=given.observation, key=given.key))


def _ask(memory: Memory, given: Ask, _: Rights) -> Reply:
    found = memory.ask(
        given.run, given.question, turns=given.turns, tokens=given.tokens, as_of=given.as_of, explain=given.explain
    )
    return answer_of(memory.view(given.run, given.as_of), found)  # the budget was kept already


def _timeline(memory: Memory, given: Timeline, _: Rights) -> Reply:
    found = memory.timeline(given.run, given.entity, attribute=given.attribute, as_of=given.as_of)
    return _answer(memory, given, found)


def _why(memory: Memory, given: Why, _: Rights) -> Reply:
    found = memory.why(given.run, given.turn, entity=given.entity, hops=given.hops, as_of=given.as_of)
    return _answer(memory, given, found)


def _scan(memory: Memory, given: Scan, _: Rights) -> Reply:
    return _answer(memory, given, memory.scan(given.run, given.query, as_of=given.as_of))


def _answer(memory: Memory, given: AsOf, found: Answer) -> Reply:
    return answer_of(memory.view(given.run, given.as_of), found, given.tokens)


def _runs(memory: Memory, _: Nothing, rights: Rights) -> Reply:
    return listed([run for run in memory.runs() if rights.covers(run)])


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "add",
            "Keep one turn of a run: what was done and what was seen then. It is durable once this answers `added`; if "
            "no answer came, repeat the call, which then says `added` or `same`.",
            Add,
            _add,
            reads=False,
        ),
        Tool(
            "ask",
            "Find the turns of a run that bear on a question, with proofs; or learn that there are none.",
            Ask,
            _ask,
        ),
        Tool(
            "timeline",
            "How the state of one thing changed over a run, and which turns changed it.",
            Timeline,
            _timeline,
        ),
        Tool("why", "Which earlier turns made a turn possible: the chain of causes, with proofs.", Why, _why),
        Tool(
            "scan",
            "Count or list over every turn of a run, where a sample would miscount. The query is a text that turns "
            f"contain, or {LANGUAGE}.",
            Scan,
            _scan,
        ),
        Tool("runs", "The names of the runs that are open to you.", Nothing, _runs),
    )
}
"""By name."""
