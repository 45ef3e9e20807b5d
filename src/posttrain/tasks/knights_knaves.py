"""Knights and knaves: who tells the truth, in English or in a formal language.

A puzzle is one statement per person in reasoning-gym's nested tuples, such as
`("and", ("lying", 0), ("telling-truth", 1))`, and has exactly one solution. `english` is the generator's own
text. `compact` is a language of 26 one-character tokens that a transformer of a million weights can learn:

    A:b;B:|AB?        A says "B is a knave"; B says "A is a knight or B is a knight"
    AB-Ab+-aB++=aB    candidates in a fixed order, each judged person by person up to the first `-`

An upper-case letter is a knight and a lower-case one a knave, so a claim holds under a candidate exactly when
its token occurs in it. Operators are prefix: `&` and, `|` or, `>` implies, `~` equivalent. Negation is pushed
inside.

References:
    Generator: reasoning-gym 0.1.25. `logic_rl_verdict`: Xie et al. 2025, "Logic-RL", arXiv:2502.14768.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Literal, NamedTuple

from posttrain.tasks import draw
from posttrain.tasks.dataset import prompt_id
from posttrain.tasks.draw import Split
from posttrain.tasks.verdict import Verdict, binary

Form = Literal["english", "compact"]
Statement = tuple[Any, ...]
"""An operator then statements, or `telling-truth` / `lying` then a person's index from 0."""

NAMES = "ABCDEFGH"
COMPACT_TOKENS = NAMES + NAMES.lower() + "&|>~:;?+-="
"""Every character of the compact form, one token each."""

_ROLES = "knight|knave|pioneer|laggard|saint|sinner|hero|villain|angel|devil|altruist|egoist|sage|fool"
_CLAIM = re.compile(rf"\b([A-Za-z]+) is an? ({_ROLES})\b(?!/)", re.IGNORECASE)
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_THINK_THEN_ANSWER = re.compile(r"\s*<think>.*</think>.*<answer>.*</answer>\s*", re.DOTALL)
_MISSES = 20_000  # draws in a row without a new puzzle that show an exhausted pool


class Puzzle(NamedTuple):
    """One statement per person and an assignment that satisfies them, the only one unless asked otherwise."""

    statements: tuple[Statement, ...]
    """What each person says."""
    solution: tuple[bool, ...]
    """True for a knight, in the order of the statements."""


def puzzles(
    n: int,
    *,
    people: int,
    seed: int,
    depth: int = 2,
    width: int = 2,
    form: Form = "compact",
    split: Split = "train",
) -> list[dict[str, Any]]:
    """Rows with distinct prompts; the same arguments give the same rows.

    Args:
        n: Rows wanted, at least 1. Two people have a few hundred puzzles in all, of which a third for `eval`.
        people: 2 to 8.
        seed: Of the draw. No puzzle is in both splits, whatever the seeds.
        depth: Largest nesting of a statement, at least 1.
        width: Most branches of `and` and `or`, 2 or 3.
        form: `english` for the generator's text, `compact` for the formal language.
        split: Decided by a hash of the puzzle.

    Returns:
        Dicts of `prompt`, `answer`, `id` (a hash of the prompt) and `people`.

    Raises:
        ValueError: Arguments out of range, or fewer than `n` puzzles exist.
    """
    if form not in ("english", "compact"):
        raise ValueError(f"form is {form!r}; expected 'english' or 'compact'")
    drawn = sample(n, people=people, seed=seed, depth=depth, width=width, split=split)
    rows = []
    for index, puzzle in enumerate(drawn):
        prompt, answer = _compact_row(puzzle) if form == "compact" else _english_row(puzzle, (seed, index))
        identity = prompt_id(prompt)
        rows.append({"prompt": prompt, "answer": answer, "id": identity, "people": people})
    return rows


def sample(
    n: int,
    *,
    people: int,
    seed: int,
    depth: int = 2,
    width: int = 2,
    split: Split = "train",
    unique: bool = True,
) -> list[Puzzle]:
    """`n` puzzles with distinct compact prompts; arguments as in `puzzles`.

    With `unique=False`, those with several solutions are drawn too and come with the first in search order: more
    to train on, and never among the rows of `puzzles`.
    """
    _check_request(n, people, depth, width, split)
    found: dict[str, Puzzle] = {}
    misses = 0
    for statements in _draws(people, seed, depth, width):
        prompt = compact_prompt(statements)
        answers = solutions(statements) if prompt not in found and split_of(statements) == split else []
        if len(answers) == 1 or (answers and not unique):
            found[prompt] = Puzzle(statements, answers[0])
            misses = 0
            if len(found) == n:
                break
        else:
            misses += 1
        if misses > _MISSES:
            raise ValueError(
                f"n is {n}, but only {len(found)} {split} puzzles with {people} people were found at depth "
                f"{depth} and width {width}; ask for at most that many, or for more people"
            )
    return list(found.values())


def solutions(statements: tuple[Statement, ...]) -> list[tuple[bool, ...]]:
    """Every assignment (True: knight) under which a statement is true exactly if its speaker is a knight.

    A statement is evaluated once for all `2**people` candidates, as one integer with a bit per candidate.
    """
    people = len(statements)
    full, knights = _knight_masks(people)
    consistent = full
    for knight, statement in zip(knights, statements, strict=True):
        consistent &= ~(knight ^ _truth(statement, knights, full))
    return [_candidate(index, people) for index in range(2**people) if consistent >> index & 1]


def split_of(statements: tuple[Statement, ...]) -> Split:
    """The split a puzzle belongs to, the same for all orders of the operands of `and`, `or` and `<=>`."""
    key = ";".join(_prefix(statement, ordered=True) for statement in statements)
    return draw.split_of(key)


def compact_prompt(statements: tuple[Statement, ...]) -> str:
    """The puzzle in the compact language, such as `A:b;B:|AB?`."""
    return ";".join(f"{name}:{_prefix(s)}" for name, s in zip(NAMES, statements, strict=False)) + "?"


def compact_trace(statements: tuple[Statement, ...], solution: tuple[bool, ...]) -> str:
    """The worked search, such as `AB-Ab+-aB++=aB`: all knights first, the last person changing fastest.

    Raises:
        ValueError: `solution` is not the first assignment that satisfies the statements.
    """
    trace = search_trace(agreements(statements))
    if trace is None or not trace.endswith(f"={_letters(solution)}"):
        raise ValueError(f"solution is {solution}, but the search is {trace}; pass the first solution")
    return trace


def agreements(statements: tuple[Statement, ...]) -> list[list[bool]]:
    """Per candidate in search order and per person: does the claim agree with the person's role?"""
    people = len(statements)
    full, knights = _knight_masks(people)
    tables = [~(mask ^ _truth(said, knights, full)) for mask, said in zip(knights, statements, strict=True)]
    return [[bool(table >> index & 1) for table in tables] for index in range(2**people)]


def search_trace(agreements: list[list[bool]]) -> str | None:
    """The search that these judgements lead to, right or wrong; None if they refute every candidate."""
    trace = ""
    for index, judged in enumerate(agreements):
        candidate = _letters(_candidate(index, len(judged)))
        if all(judged):
            return f"{trace}{candidate}{'+' * len(judged)}={candidate}"
        trace += candidate + "+" * judged.index(False) + "-"
    return None


def compact_verdict(completion: str, answer: str) -> Verdict:
    """1 if what follows the last `=` is exactly `answer`, else 0; the trace before it is not judged."""
    _, found, last = completion.rpartition("=")
    return binary(bool(found) and last == answer)


def english_verdict(completion: str, answer: str) -> Verdict:
    """1 if every person has the role that `answer` gives, else 0; there is no partial credit.

    Inside the last `<answer>...</answer>` each person must be given one role, once or repeatedly. Without the
    tag, each person's last role in the text counts.

    Raises:
        ValueError: `answer` assigns no roles.
    """
    expected = _expected_roles(answer)
    tagged = _TAGGED.findall(completion)
    return binary(_assigned(tagged[-1] if tagged else completion, strict=bool(tagged)) == expected)


def logic_rl_verdict(completion: str, answer: str, *, form: Form = "compact") -> Verdict:
    """Logic-RL's reward: format +1 or -1, and answer +2 right, -1.5 wrong, -2 missing or badly formatted.

    The format is `<think>...</think><answer>...</answer>` for English; for the compact form it is a trace of
    well-formed candidates and signs, then `=` and one role per person. Totals are 3, -0.5, -1 and -3;
    `correct` is 1.0 at 3 only.
    """
    if form == "compact":
        shape = _compact_shape(len(answer)).fullmatch(completion)
        if shape is None:
            return Verdict(-3.0, 0.0)
        return Verdict(3.0, 1.0) if shape["answer"] == answer else Verdict(-0.5, 0.0)
    if form != "english":
        raise ValueError(f"form is {form!r}; expected 'english' or 'compact'")
    expected = _expected_roles(answer)
    once = all(completion.count(tag) == 1 for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    if not (once and _THINK_THEN_ANSWER.fullmatch(completion)):
        return Verdict(-3.0, 0.0)
    roles = _assigned(_TAGGED.findall(completion)[-1], strict=True)
    if roles is None or roles.keys() != expected.keys():
        return Verdict(-1.0, 0.0)
    return Verdict(3.0, 1.0) if roles == expected else Verdict(-0.5, 0.0)


def _check_request(n: int, people: int, depth: int, width: int, split: str) -> None:
    """Reject what cannot be drawn, with one sentence."""
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least 1 puzzle")
    if not 2 <= people <= len(NAMES):
        raise ValueError(f"people is {people}; expected 2 to {len(NAMES)}")
    if depth < 1 or width not in (2, 3):
        raise ValueError(f"depth is {depth} and width {width}; expected depth >= 1 and a width of 2 or 3")
    if split not in ("train", "eval"):
        raise ValueError(f"split is {split!r}; expected 'train' or 'eval'")


def _generator() -> ModuleType:
    try:
        return importlib.import_module("reasoning_gym.logic.knights_knaves")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "puzzles come from reasoning-gym, which is not installed; run: pip install 'posttrain[tasks]'"
        ) from error


def _draws(people: int, seed: int, depth: int, width: int) -> Iterator[tuple[Statement, ...]]:
    sampler = _generator().KKProblemSampler(seed, people, depth, width)
    while True:
        yield sampler.sample()


def _compact_row(puzzle: Puzzle) -> tuple[str, str]:
    return compact_prompt(puzzle.statements), _letters(puzzle.solution)


def _english_row(puzzle: Puzzle, seed: tuple[int, int]) -> tuple[str, str]:
    problem = {"statements": puzzle.statements, "solution": puzzle.solution}
    text = _generator().KKProblemFormatter(seed, problem).format_problem()
    return text["quiz"], text["solution_text"]


def _candidate(index: int, people: int) -> tuple[bool, ...]:
    """Candidate 0 is all knights; the last person's role changes fastest."""
    return tuple(not index >> (people - 1 - person) & 1 for person in range(people))


def _letters(roles: tuple[bool, ...]) -> str:
    return "".join(name if knight else name.lower() for name, knight in zip(NAMES, roles, strict=False))


def _knight_masks(people: int) -> tuple[int, list[int]]:
    """All candidates' bits, and per person the bits of the candidates in which that person is a knight."""
    candidates = [_candidate(index, people) for index in range(2**people)]
    masks = [sum(roles[who] << index for index, roles in enumerate(candidates)) for who in range(people)]
    return (1 << 2**people) - 1, masks


def _truth(statement: Statement, knights: list[int], full: int) -> int:
    """The bits of the candidates under which the statement is true."""
    operator, *operands = statement
    if operator == "telling-truth":
        return knights[operands[0]]
    if operator == "lying":
        return full ^ knights[operands[0]]
    first, *rest = [_truth(operand, knights, full) for operand in operands]
    if operator == "not":
        return full ^ first
    if operator == "->":
        return (full ^ first) | rest[0]
    if operator == "<=>":
        return full ^ first ^ rest[0]
    for table in rest:
        first = first & table if operator == "and" else first | table
    return first


def _prefix(statement: Statement, *, negated: bool = False, ordered: bool = False) -> str:
    """Polish notation with negation pushed down to the letters.

    `ordered` gives one text for all orders of commuting operands; there `#` is a negated equivalence, whose
    negation would otherwise settle on the operand that happens to be second.
    """
    operator, *operands = statement
    if operator == "not":
        return _prefix(operands[0], negated=not negated, ordered=ordered)
    if operator in ("telling-truth", "lying"):
        name = NAMES[operands[0]]
        return name if (operator == "telling-truth") != negated else name.lower()
    if operator == "<=>":
        symbol, signs = ("#", (False, False)) if negated and ordered else ("~", (False, negated))
    elif operator == "->":
        symbol, signs = "&" if negated else ">", (False, negated)
    else:
        symbol = "&" if (operator == "and") != negated else "|"
        signs = (negated,) * len(operands)
    parts = [_prefix(part, negated=sign, ordered=ordered) for part, sign in zip(operands, signs, strict=True)]
    if ordered and symbol != ">":
        parts.sort()
    return symbol * (len(parts) - 1) + "".join(parts)


def _compact_shape(people: int) -> re.Pattern[str]:
    """A whole completion: refuted candidates, one that everybody agrees with, `=` and a role per person."""
    roles = "".join(f"[{name}{name.lower()}]" for name in NAMES[:people])
    return re.compile(rf"(?:{roles}\+{{0,{people - 1}}}-)*{roles}\+{{{people}}}=(?P<answer>{roles})")


def _assigned(text: str, *, strict: bool) -> dict[str, str] | None:
    """Each named person's last role in lower case; None if `strict` and somebody has two."""
    claims = [(name.lower(), role.lower()) for name, role in _CLAIM.findall(text)]
    return None if strict and len(set(claims)) != len(dict(claims)) else dict(claims)


def _expected_roles(answer: str) -> dict[str, str]:
    roles = _assigned(answer, strict=True)
    if not roles:
        raise ValueError(f"answer is {answer!r}; expected roles, such as 'Zoey is a fool, and Ava is a sage.'")
    return roles
