r"""Verifiers for your own data set: is a completion's final answer the one in the answer column?

    name             right means                                  unscored (never a 0)
    exact            the same text, but for case, white space     the answer column is empty
                     and a full stop at the end
    numeric          the same number, as exact fractions          the answer column is not a number
    math             math-verify finds the expressions equal      no expression in the answer column, an
                                                                  exception, or the deadline
    knights-knaves   every person has the right role

`exact` is the default of `posttrain train --dataset`.

The final answer of a text is the content of its last `<answer>...</answer>`; in that, or in the whole text if there
is none, what follows the last `####`; in that, the last `\boxed{...}`. Without any of the three, `exact` takes the
last line that is not empty, `numeric` the last number and `math` the expression that math-verify extracts. The
answer column may be marked in the same ways (GSM8K's `#### 72`); without a mark, all of it is the answer.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import queue
import re
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, Self, get_args

from posttrain.tasks.verdict import UNSCORED, Verdict, Verifier, binary

VerifierName = Literal["exact", "numeric", "math", "knights-knaves"]
"""The verifiers that have a name."""

_DECIMAL = r"""(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|(?<![.\w])\.[0-9]+)
    (?:[eE][-+]?[0-9]+)?"""
_NUMBER = re.compile(
    rf"""(?P<sign>(?<![A-Za-z0-9_)\]}}])[-+])?(?:\\?[$€£¥₹][ ]?(?P<inner_sign>[-+])?)?(?<![A-Za-z0-9_])
    (?:(?:(?P<whole>[0-9]+)[ ])?(?P<over>{_DECIMAL})[ ]?/[ ]?(?P<under>{_DECIMAL})
      |(?P<tex_whole>[0-9]+)?\\[dt]?frac\{{(?P<tex_over>{_DECIMAL})\}}\{{(?P<tex_under>{_DECIMAL})\}}
      |(?P<plain>{_DECIMAL}))(?:[ ]?\\?%)?""",
    re.VERBOSE,
)
_LONGEST_NUMBER = 400
"""Characters of a number that is still read; a double has at most 309 digits before the point."""
DEADLINE = "deadline"
"""Reason in `MathVerify.failures`: the verdict took longer than `timeout_s`."""
PROCESS_ENDED = "process ended"
"""Reason in `MathVerify.failures`: the process died, for example out of memory."""
_MATH_MODE = re.compile(r"(?<!\\)\$|\\\(|\\\[|\\boxed")
_PROSE = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}\s+[A-Za-z]{2,}")


def verifier(name: VerifierName) -> Verifier:
    """The verifier of that name; `math` starts a process at its first verdict.

    Raises:
        ValueError: There is no verifier of that name.
    """
    if name == "exact":
        return exact
    if name == "numeric":
        return numeric
    if name == "math":
        return MathVerify(workers=os.cpu_count() or 1)
    if name == "knights-knaves":
        from posttrain.tasks.knights_knaves import english_verdict

        return english_verdict
    known = ", ".join(get_args(VerifierName))
    raise ValueError(f"There is no verifier {name!r}; choose one of {known}, or pass a function of your own.")


def exact(completion: str, answer: str) -> Verdict:
    """1 if the final answer is the text `answer`, but for case, white space and a full stop at the end."""
    expected = _normal(_given(answer))
    return binary(_normal(final_answer(completion)) == expected) if expected else UNSCORED


def numeric(completion: str, answer: str) -> Verdict:
    r"""1 if the last number of the final answer equals the number `answer`.

    Numbers are compared exactly: 1,000 = 1000 = 1e3, 1/2 = 0.5, 1 1/2 = \frac{3}{2}. A comma separates
    thousands. Currency and percent signs are dropped, so 50% = 50. Expressions such as 3 x 10^5 are for `math`.
    """
    whole = _NUMBER.fullmatch(_plain(_given(answer)).strip("$ ").rstrip(". "))
    expected = _value(whole) if whole else None
    if expected is None:
        return UNSCORED
    marked = _marked(completion)
    numbers = list(_NUMBER.finditer(_plain(completion if marked is None else marked)))
    return binary(bool(numbers) and _value(numbers[-1]) == expected)


def final_answer(text: str) -> str:
    """The marked answer of a text, else its last line that is not empty, else the empty text."""
    marked = _marked(text)
    return _last_line(text) if marked is None else marked


def _given(answer: str) -> str:
    marked = _marked(answer)
    return answer.strip() if marked is None else marked


def _marked(text: str) -> str | None:
    r"""The content of `<answer>`, `####` or `\boxed`, each looked for inside the one before; None without."""
    close = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, close) if close >= 0 else -1
    inside = text[start + len("<answer>") : close].strip() if start >= 0 else None
    region = text if inside is None else inside
    _, hashes, after = region.rpartition("####")
    after = after.strip()
    boxed = _last_boxed(after if hashes and after else region)
    if boxed is not None:
        return boxed
    return after.splitlines()[0].strip() if hashes and after else inside


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for i in range(start, len(text)):
        depth += (text[i] == "{") - (text[i] == "}")
        if depth == 0:
            return text[start:i].strip()
    return None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _normal(text: str) -> str:
    return " ".join(text.casefold().split()).removesuffix(".").rstrip()


def _plain(text: str) -> str:
    """With a plain minus sign and without TeX's spaces inside numbers."""
    return text.replace("−", "-").replace("{,}", ",").replace("\\,", "").replace("\\!", "")


def _value(number: re.Match[str]) -> Fraction | None:
    """The number that was matched; None if it has no value or is too long to be one that was meant."""
    parts = number.groupdict(default="")
    texts = (
        parts["whole"] or parts["tex_whole"],
        parts["plain"] or parts["over"] or parts["tex_over"],
        parts["under"] or parts["tex_under"],
    )
    if any(len(text) > _LONGEST_NUMBER or len(re.split("[eE]", text + "e")[1]) > 4 for text in texts):
        return None
    whole, over, under = (
        Fraction(text.replace(",", "") or default) for text, default in zip(texts, "011", strict=True)
    )
    if not under:
        return None
    negative = (parts["sign"] == "-") != (parts["inner_sign"] == "-")
    return (whole + over / under) * (-1 if negative else 1)


class MathVerify:
    r"""math-verify in a process of its own, with a deadline that holds.

    sympy can take for ever over an expression (`$100000000!$`), inside C code that no signal handler and no thread
    interrupts. Here the process is killed at the deadline, the row is unscored, and the next one gets a new
    process. Works from any thread; a thread waits while all processes are busy. Pickling keeps the settings only.

    Example:
        with MathVerify() as verify:
            verify(r"so \boxed{0.5}", r"\frac{1}{2}")  # Verdict(reward=1.0, correct=1.0)
    """

    _worker = Path(__file__).with_name("_math_worker.py")
    _start_limit_s = 120.0

    def __init__(self, timeout_s: float = 5.0, workers: int = 1) -> None:
        """Set the limits; processes start when they are needed.

        Args:
            timeout_s: Seconds that one verdict may take; starting a process does not count.
            workers: How many processes there are at most.

        Raises:
            ValueError: A limit is not positive.
            ImportError: math-verify is not installed.
        """
        if not 0 < timeout_s < math.inf:
            raise ValueError(f"timeout_s is {timeout_s}; expected a positive number of seconds, e.g. 5.")
        if workers < 1:
            raise ValueError(f"workers is {workers}; expected at least 1 process.")
        if importlib.util.find_spec("math_verify") is None:
            raise ImportError("The verifier `math` needs math-verify: pip install 'posttrain[tasks]'")
        self.timeout_s = timeout_s
        self.workers = workers
        self.failures: Counter[str] = Counter()
        """How many verdicts could not be reached, by reason."""
        self._reset()

    def __call__(self, completion: str, answer: str) -> Verdict:
        """1 if math-verify finds the final answer equal to `answer`, else 0.

        Raises:
            RuntimeError: The verifier is closed, or its process does not start.
        """
        marked = _marked(completion)
        text = completion if marked is None else _math_mode(marked)
        reply = self._ask({"gold": _math_mode(_given(answer)), "text": text})
        if "failure" in reply:
            with self._lock:
                self.failures[reply["failure"]] += 1
            return UNSCORED
        return binary(reply["right"])

    def many(self, pairs: Iterable[tuple[str, str]]) -> list[Verdict]:
        """The verdicts of many `(completion, answer)` pairs in their order, on all processes at once."""
        with ThreadPoolExecutor(self.workers) as threads:
            return list(threads.map(lambda pair: self(*pair), pairs))

    def close(self) -> None:
        """End the processes, after the verdicts under way; a closed verifier is not used again."""
        self._closed = True
        if self._owner != os.getpid():
            return
        slots = [self._slots.get() for _ in range(self.workers)]
        self._end()
        for _ in slots:
            self._slots.put(None)  # wakes a thread that waits, which then finds the verifier closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[float, int]]:
        return type(self), (self.timeout_s, self.workers)

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._closed = False
        self._lock = threading.Lock()
        self._slots: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(self.workers):
            self._slots.put(None)
        self._running: set[_Process] = set()
        self._end = weakref.finalize(self, _kill_all, self._running)

    def _ask(self, job: dict[str, str]) -> dict[str, Any]:
        if self._owner != os.getpid():  # a fork shares the pipes, so replies could reach the wrong process
            self._end.detach()
            self._reset()
        process = self._slots.get()
        answered = None
        try:
            if self._closed:
                raise RuntimeError("This MathVerify is closed; make a new one.")
            process = process or self._start()
            reply = process.ask(job, self.timeout_s)
            answered = process if process.alive else None
            return reply
        finally:
            if process is not None and answered is None:
                process.kill()
                self._running.discard(process)
            self._slots.put(answered)

    def _start(self) -> _Process:
        process = _Process([sys.executable, "-P", str(self._worker), str(self.timeout_s + 1)])
        self._running.add(process)
        if process.reply(self._start_limit_s) != {"ready": True}:
            process.kill()
            self._running.discard(process)
            raise RuntimeError(f"math-verify's process did not start; to see why: {' '.join(process.command)}")
        return process


class _Process:
    """A child process that answers one JSON line with one JSON line."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.alive = True
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def ask(self, job: dict[str, str], timeout_s: float) -> dict[str, Any]:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(job).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            self.kill()
            return {"failure": PROCESS_ENDED}
        return self.reply(timeout_s)

    def reply(self, timeout_s: float) -> dict[str, Any]:
        assert self._child.stdout is not None
        if not wait([self._child.stdout.fileno()], timeout_s):
            self.kill()
            return {"failure": DEADLINE}
        line = self._child.stdout.readline()
        if not line.endswith(b"\n"):
            self.kill()
            return {"failure": PROCESS_ENDED}
        return json.loads(line)

    def kill(self) -> None:
        self.alive = False
        self._child.kill()
        with contextlib.suppress(BrokenPipeError):
            self._child.communicate()  # closes the pipes and waits, so that no zombie stays


def _kill_all(processes: set[_Process]) -> None:
    for process in processes:
        process.kill()
    processes.clear()


def _math_mode(text: str) -> str:
    """The text as TeX mathematics, unless it is already marked as such or is prose."""
    return text if _MATH_MODE.search(text) or _PROSE.search(text) else f"${text}$"
