"""The process in which math-verify runs, started by `posttrain.tasks.verifiers.MathVerify`.

It is run by its path, so that it starts without importing posttrain or torch. One JSON object a line: first
`{"ready": true}`, then for every job `{"gold": text, "text": text}` on standard input a reply on standard output,
`{"right": bool}` or `{"failure": reason}`. It ends with its input. Its one argument is the seconds after which the
operating system ends a job, so that a job that never returns does not outlive a killed parent.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys

from math_verify import parse, verify

NOT_UNDERSTOOD = "the answer column holds no expression"


def judge(gold: str, text: str) -> dict[str, object]:
    """Whether the expression in `text` equals the one in `gold`."""
    expected = parse(gold, parsing_timeout=None, raise_on_error=True)  # pyright: ignore[reportArgumentType]
    if not expected:
        return {"failure": NOT_UNDERSTOOD}
    found = parse(text, parsing_timeout=None, raise_on_error=True)  # pyright: ignore[reportArgumentType]
    return {"right": verify(expected, found, timeout_seconds=None, raise_on_error=True)}


def main() -> None:
    """Answer jobs until the input ends."""
    logging.disable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    limit_s = float(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print is not a reply
    judge("$1$", "$1$")  # the first job pays for the lazy imports
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            reply = judge(**json.loads(line))
        except Exception as error:  # noqa: BLE001 - sympy raises every kind; each is reported by name
            reply = {"failure": type(error).__name__}
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
