"""`posttrain memory`: a memory from the command line, and served to other programs."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import tyro

from posttrain.commands.parse import parse

if TYPE_CHECKING:
    from posttrain.memory import Answer, Memory
    from posttrain.memory.server.rights import Keys, Rights

USAGE = """usage: posttrain memory COMMAND WHERE [...]

  WHERE is a file, which add, import and serve make if it is not there, or postgresql://...

  serve WHERE              an MCP server and a JSON API for other programs
  add WHERE RUN TURN       keep one turn of a run
  ask WHERE RUN QUESTION   the turns that bear on a question, with proofs
  timeline WHERE RUN THING how the state of a thing changed
  why WHERE RUN TURN       which earlier turns made a turn possible
  scan WHERE RUN QUERY     count or list over every turn
  runs WHERE               the names of all runs
  export WHERE FILE        all turns, or those of one run, as JSON Lines
  import WHERE FILE        turns from such a file
  work WHERE               make the vectors that turns still lack
  rebuild WHERE            make every index anew from the turns
  check WHERE              whether turns and indexes agree
  erase WHERE RUN          remove turns for good

  posttrain memory COMMAND --help    says what a command takes"""

Embedder: TypeAlias = Literal["lexical", "minilm"]
Where: TypeAlias = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WHERE")]
RunName: TypeAlias = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class Serve:
    """An MCP server and a JSON API over HTTP, or MCP over standard input and output for the program that starts it."""

    where: Where
    """A file or postgresql://..."""
    stdio: bool = False
    """MCP over standard input and output, in place of HTTP."""
    host: str = "127.0.0.1"
    """To listen on. Beyond this machine tokens are needed."""
    port: int = 8900
    """To listen on; 0 takes a free one."""
    token_env: str = ""
    """Environment variable with the token that clients bring as a bearer token."""
    rights: Path | None = None
    """TOML with several tokens, each for some runs, for reading or for writing too."""
    runs: tuple[str, ...] = ()
    """The only runs that clients may see, by name; without this and --prefixes, all."""
    prefixes: tuple[str, ...] = ()
    """The only runs that clients may see, by how their names begin."""
    read_only: bool = False
    """Let no client add turns."""
    origins: tuple[str, ...] = ()
    """Of the web pages that may send requests, such as http://localhost:6274; others are refused."""
    limit_mib: int = 64
    """Mebibytes of one request."""
    durability: Literal["process", "power"] = "process"
    """What an acknowledged turn survives: the end of this process, or a power cut too."""
    embedder: Embedder | None = None
    """Vectors to find turns by too: of their letters (lexical), or of what they mean (minilm)."""


@dataclass(frozen=True)
class Add:
    """Keep one turn. A turn that is there already with the same content is left as it is."""

    where: Where
    """A file, made if it is not there, or postgresql://..."""
    run: RunName
    """The episode, conversation or task."""
    turn: Annotated[int, tyro.conf.Positional, tyro.conf.arg(metavar="TURN")]
    """Its number in the run, from 0."""
    action: str = ""
    """What the agent did."""
    observation: str = ""
    """What it saw then."""
    observation_file: Path | None = None
    """Holds the observation; - is standard input."""
    key: str = ""
    """Names this very call: repeating it with the same key changes nothing."""
    durability: Literal["process", "power"] = "process"
    """What the turn survives: the end of this process, or a power cut too."""
    embedder: Embedder | None = None
    """Vectors to find turns by too: of their letters (lexical), or of what they mean (minilm)."""


@dataclass(frozen=True)
class _Question:
    where: Where
    """A file or postgresql://..."""
    run: RunName
    """The episode, conversation or task."""
    _: KW_ONLY
    as_of: int | None = None
    """Only what was known after this turn."""
    json: bool = False
    """Print JSON, with every text in full."""


@dataclass(frozen=True)
class Ask(_Question):
    """The turns that bear on a question, with proofs; or that there are none."""

    question: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUESTION")]
    """In plain words."""
    turns: int = 10
    """At most so many turns of evidence."""
    tokens: int | None = None
    """At most about so many tokens of evidence."""
    explain: bool = False
    """Also say how the evidence was found."""
    embedder: Embedder | None = None
    """Vectors to find turns by too: of their letters (lexical), or of what they mean (minilm)."""


@dataclass(frozen=True)
class Timeline(_Question):
    """How the state of a thing changed, and which turns changed it."""

    entity: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="THING")]
    """Its name."""
    attribute: str | None = None
    """One of its attributes; all by default."""


@dataclass(frozen=True)
class Why(_Question):
    """Which earlier turns made a turn possible."""

    turn: Annotated[int, tyro.conf.Positional, tyro.conf.arg(metavar="TURN")]
    """Whose causes are asked for."""
    entity: str | None = None
    """Only causes that have to do with this thing."""
    hops: int = 2
    """How many causes back."""


@dataclass(frozen=True)
class Scan(_Question):
    """Count or list over every turn of a run."""

    query: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="QUERY")]
    """What to look for."""


@dataclass(frozen=True)
class Runs:
    """The names of all runs, one on a line."""

    where: Where
    """A file or postgresql://..."""
    json: bool = False
    """Print a JSON list."""


@dataclass(frozen=True)
class Export:
    """All turns, or those of one run, as JSON Lines."""

    where: Where
    """A file or postgresql://..."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """To write."""
    run: str | None = None
    """Only this run."""


@dataclass(frozen=True)
class Import:
    """Turns from a file that export wrote; those that are there already are left as they are."""

    where: Where
    """A file, made if it is not there, or postgresql://..."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """JSON Lines."""
    embedder: Embedder | None = None
    """Vectors to find turns by too: of their letters (lexical), or of what they mean (minilm)."""


@dataclass(frozen=True)
class Work:
    """Make the vectors that turns still lack; exit code 1 if some could not be made."""

    where: Where
    """A file or postgresql://..."""
    embedder: Embedder
    """Of their letters (lexical), or of what they mean (minilm)."""
    limit: int | None = None
    """At most so many turns; all by default."""


@dataclass(frozen=True)
class Rebuild:
    """Make every index anew from the turns."""

    where: Where
    """A file or postgresql://..."""
    run: str | None = None
    """Only of this run."""


@dataclass(frozen=True)
class Check:
    """Whether turns and indexes agree; exit code 1 if they do not."""

    where: Where
    """A file or postgresql://..."""


@dataclass(frozen=True)
class Erase:
    """Remove turns for good, with all that was made from them. They cannot be brought back."""

    where: Where
    """A file or postgresql://..."""
    run: RunName
    """The episode, conversation or task."""
    turns: tuple[int, ...] = ()
    """Their numbers; the whole run by default."""
    yes: bool = False
    """Do it; without, it is only said what would be erased."""


def main(arguments: Sequence[str]) -> None:
    """Hand over to a command of `memory`."""
    given = list(arguments)
    if not given or given[0] in ("-h", "--help"):
        print(USAGE)
        return
    if given[0] not in COMMANDS:
        raise ValueError(f"memory {given[0]} is not understood; use memory with one of {', '.join(COMMANDS)}.")
    kind, do = COMMANDS[given[0]]
    do(parse(kind, given[1:], prog=f"posttrain memory {given[0]}", description=kind.__doc__ or ""))


def serve(given: Serve) -> None:
    """Serve until SIGINT or SIGTERM, or over stdio until the input ends."""
    from posttrain.extras import need

    need("mcp")
    from posttrain.memory.server import serving
    from posttrain.serve import check_port

    if given.limit_mib < 1:
        raise ValueError(f"--limit-mib {given.limit_mib} must be at least 1.")
    check_port(given.port)
    keys, rights = _keys(given)
    door = serving.Door(given.host, keys, rights, given.origins, given.limit_mib << 20)
    with _opened(given.where, durability=given.durability, embedder=given.embedder, new=True) as memory:
        if given.stdio:
            asyncio.run(serving.over_stdio(memory, rights, door.limit))
        else:
            asyncio.run(serving.over_http(memory, door, given.port, _announce(given)))


def _keys(given: Serve) -> tuple[Keys | None, Rights]:
    """Tokens, if there are any, and the rights of clients that need none."""
    from posttrain.memory.server.rights import Rights, from_file, from_variable

    limited = bool(given.runs or given.prefixes)
    rights = Rights(given.runs, given.prefixes if limited else ("",), not given.read_only)
    if given.stdio and (given.token_env or given.rights):
        raise ValueError("--stdio serves the program that started it alone: leave out --token-env and --rights.")
    if given.rights is None:
        return (from_variable(given.token_env, rights) if given.token_env else None), rights
    if given.token_env or limited or given.read_only:
        raise ValueError("--rights says it all: leave out --token-env, --runs, --prefixes and --read-only.")
    return from_file(given.rights), rights


def _announce(given: Serve) -> Callable[[int], None]:
    """What is said once it listens."""

    def say(port: int) -> None:
        host = f"[{given.host}]" if ":" in given.host else given.host
        tokens = given.rights or given.token_env or "none; every program of this machine may connect"
        print(f"memory   {_shown(given.where)}")
        print(f"mcp      http://{host}:{port}/mcp")
        print(f"json     http://{host}:{port}/v1/")
        print(f"tokens   {tokens}", flush=True)

    return say


def add(given: Add) -> None:
    """Keep a turn."""
    if given.observation and given.observation_file:
        raise ValueError("Give the observation by --observation or by --observation-file, not by both.")
    observation = _read(given.observation_file) if given.observation_file else given.observation
    with _opened(given.where, durability=given.durability, embedder=given.embedder, new=True) as memory:
        found = memory.add(given.run, given.turn, action=given.action, observation=observation, key=given.key or None)
    print(found.status)


def _read(path: Path) -> str:
    """A file's text; bytes that are no UTF-8 are kept as lone surrogates."""
    if str(path) == "-":
        return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    if not path.is_file():
        raise ValueError(
            f"There is no observation at {path}; --observation-file takes a file, or - for standard input."
        )
    return path.read_bytes().decode("utf-8", "surrogateescape")


def ask(given: Ask) -> None:
    """Find evidence."""
    with _opened(given.where, embedder=given.embedder) as memory:
        found = memory.ask(
            given.run, given.question, turns=given.turns, tokens=given.tokens, as_of=given.as_of, explain=given.explain
        )
        _print(memory, found, given.json)


def timeline(given: Timeline) -> None:
    """Follow a thing."""
    with _opened(given.where) as memory:
        found = memory.timeline(given.run, given.entity, attribute=given.attribute, as_of=given.as_of)
        _print(memory, found, given.json)


def why(given: Why) -> None:
    """Follow causes."""
    with _opened(given.where) as memory:
        found = memory.why(given.run, given.turn, entity=given.entity, hops=given.hops, as_of=given.as_of)
        _print(memory, found, given.json)


def scan(given: Scan) -> None:
    """Look at every turn."""
    with _opened(given.where) as memory:
        _print(memory, memory.scan(given.run, given.query, as_of=given.as_of), given.json)


def runs(given: Runs) -> None:
    """List the runs."""
    from posttrain.memory.server.replies import sendable

    with _opened(given.where) as memory:
        found = memory.runs()
    if given.json:
        print(json.dumps(sendable(found)))
        return
    from posttrain.commands.evidence import visible

    for name in found:
        print(visible(name).replace("\n", "\\n"))


def export(given: Export) -> None:
    """Write turns to a file."""
    with _opened(given.where) as memory:
        turns = memory.export(given.file, run=given.run)
    print(f"{_turns(turns)} in {given.file}")


def import_(given: Import) -> None:
    """Add the turns of a file."""
    if not given.file.is_file():
        raise ValueError(f"There is no file at {given.file}; `posttrain memory export` writes one.")
    with _opened(given.where, embedder=given.embedder, new=True) as memory:
        counts = Counter(each.status for each in memory.import_from(given.file))
    print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no turns")


def work(given: Work) -> None:
    """Make vectors."""
    with _opened(given.where, embedder=given.embedder) as memory:
        found = memory.work(given.limit)
    for each in found.errors:
        print(each)
    print(f"{_turns(found.done)} done, {found.failed} failed")
    if found.failed:
        sys.exit(1)


def rebuild(given: Rebuild) -> None:
    """Make the indexes anew."""
    with _opened(given.where) as memory:
        memory.rebuild(given.run)
    print("rebuilt")


def check(given: Check) -> None:
    """Compare turns and indexes."""
    with _opened(given.where) as memory:
        problems = memory.check()
    for each in problems:
        print(each)
    if problems:
        sys.exit(1)
    print("turns and indexes agree")


def erase(given: Erase) -> None:
    """Remove turns."""
    with _opened(given.where) as memory:
        there = memory.view(given.run).lengths().turn.tolist()
        turns = [turn for turn in there if turn in given.turns] if given.turns else there
        if missing := sorted(set(given.turns) - set(there)):
            raise ValueError(f"Run {given.run!r} has no turn {missing[0]}; nothing was erased.")
        if not given.yes:
            raise ValueError(f"{_turns(len(turns))} of run {given.run!r} would be erased for good; --yes does it.")
        gone = memory.erase(given.run, turns=list(given.turns) or None)
    print(f"{_turns(gone)} erased")


def _turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count} turns"


@contextmanager
def _opened(
    where: str,
    *,
    durability: Literal["process", "power"] = "process",
    embedder: Embedder | None = None,
    new: bool = False,
) -> Iterator[Memory]:
    """A memory; one that is not there is made only where that is meant."""
    from posttrain.memory import Memory

    if not new and "://" not in where and not Path(where).is_file():
        raise ValueError(f"There is no memory at {where}; `posttrain memory add` or `import` makes one.")
    with Memory(where, durability=durability, embedder=embedder) as memory:
        yield memory


def _print(memory: Memory, answer: Answer, as_json: bool) -> None:
    from posttrain.memory.server.replies import answer_of

    reply = answer_of(memory.view(answer.run, answer.as_of), answer)
    if as_json:
        print(json.dumps(reply.structured, indent=1, allow_nan=False))
        return
    from posttrain.commands.evidence import show

    show(reply.structured)


def _shown(where: str) -> str:
    """Where, without a password."""
    where = re.sub(r"(://[^/@:]*):[^@/]*@", r"\1:***@", where)
    return re.sub(r"(password=)[^&]*", r"\1***", where)


COMMANDS: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "serve": (Serve, serve),
    "add": (Add, add),
    "ask": (Ask, ask),
    "timeline": (Timeline, timeline),
    "why": (Why, why),
    "scan": (Scan, scan),
    "runs": (Runs, runs),
    "export": (Export, export),
    "import": (Import, import_),
    "work": (Work, work),
    "rebuild": (Rebuild, rebuild),
    "check": (Check, check),
    "erase": (Erase, erase),
}
