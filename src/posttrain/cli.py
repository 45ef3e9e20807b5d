"""posttrain: train a language model by reward, edit its weights, guard it, compare methods, measure claims.

usage: posttrain COMMAND [...]

  train RECIPE     train a model with a recipe, on your data set or on a task
  compare ARM...   recipes side by side on a tiny student, on the same seeds
  claims           re-measure the papers' claims and rewrite docs/claims.md
  edit safety      refuse in other languages what is refused in English, by few weights; edit undo
  tune value-only  supervised tuning that touches values alone
  memory           turns of agents kept for good, with evidence for questions: add, ask, serve
  guard egress     a gateway for what leaves an agent: serve, run, check, replay
  bench egress     attacks that make an agent leak a secret, against every defence
  bench agentdojo  AgentDojo's suites, with and without a guard
  bench ama        how much of long agent logs a memory gives back
  bench edit       an edit of weights where the truth is known
  bench value-only what tuning by values alone keeps, in theory and in small models
  zoo              the tiny models that ship with the package: list, build
  doctor           versions, extras, and whether the engines' contracts hold

  posttrain COMMAND --help    says what a command takes
  --version                   the version
  POSTTRAIN_TRACEBACK=1       shows where an error came from
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

COMMANDS = ("train", "compare", "claims", "edit", "tune", "memory", "guard", "bench", "zoo", "doctor")


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; an error is one sentence and exit code 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if os.environ.get("POSTTRAIN_TRACEBACK"):
        _dispatch(arguments)
        return
    try:
        try:
            _dispatch(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _end_unread()
    except (ValueError, OSError, ImportError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("posttrain: stopped", file=sys.stderr)
        sys.exit(130)


def _dispatch(arguments: list[str]) -> None:
    """Help, the version, or a command."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print((__doc__ or "").strip())
        return
    if arguments[0] == "--version":
        from posttrain import __version__

        print(__version__)
        return
    name, *rest = arguments
    if name not in COMMANDS:
        _fail(f"there is no command {name!r}; the commands are {', '.join(COMMANDS)}.")
    _run(name, rest)


def _run(name: str, rest: Sequence[str]) -> None:
    """Import the command's module and hand over."""
    from posttrain.extras import need

    if name != "doctor":
        need("tyro")
        need("rich")
    importlib.import_module(f"posttrain.commands.{name}").main(list(rest))


def _end_unread() -> None:
    """Whoever read the output is gone: drop what is left of it, and exit as the signal SIGPIPE would have it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(141)


def _fail(sentence: str) -> None:
    """Print one sentence on one line and exit with code 2."""
    print(f"posttrain: {' '.join(sentence.split())}", file=sys.stderr)
    sys.exit(2)
