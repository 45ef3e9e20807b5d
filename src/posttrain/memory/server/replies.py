"""What is sent back: fields for programs, in which texts of the log are spans marked untrusted, and a text for models.

A span is {"run", "turn", "field", "start", "end", "text", "trust": "untrusted"}; `text` is what the field of that turn
holds from `start` to `end`. In the text form the same stands inside a fence that it cannot leave.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from posttrain.memory.added import Added
from posttrain.memory.answer import Answer, Evidence, Finding
from posttrain.memory.fence import Piece, fenced
from posttrain.memory.retrieval.budget import CUT, fitted
from posttrain.memory.rows import Field, Proof, Turn
from posttrain.memory.view import View

FINDINGS = 200
"""At most so many stand in the text form; the fields have all."""

FIELDS: tuple[Field, ...] = ("action", "observation")

_LONE = re.compile("[\ud800-\udfff]")


class Changed(OSError):
    """What was found is not there any more."""

    def __init__(self) -> None:
        super().__init__("The run was changed while it was asked about; ask again.")


class Reply(NamedTuple):
    """What a tool gives."""

    structured: Mapping[str, Any]
    """For programs; ready for JSON."""
    text: str
    """For models."""


def added(found: Added) -> Reply:
    """What became of a turn."""
    fields = {"run": found.run, "turn": found.turn, "status": found.status}
    return Reply(sendable(fields), f"Turn {found.turn}: {found.status}.")


def listed(runs: Sequence[str]) -> Reply:
    """Names of runs, which are text that somebody else wrote, too."""
    fields = sendable({"runs": list(runs)})
    return Reply(fields, fenced([Piece("runs, as JSON", _json(fields["runs"]))]))


def answer_of(view: View, answer: Answer, tokens: int | None = None, *, same: bool = False) -> Reply:
    """Evidence and findings.

    Args:
        view: That was asked.
        answer: What it had.
        tokens: At most about so many in all evidence together; None is no limit.
        same: Whether the same is written the same every time; see `fenced`.

    Raises:
        Changed: The run has no longer what was found.
    """
    kept = fitted(answer.evidence, tokens)
    texts = {turn.turn: turn for turn in view.turns(sorted(_named(kept, answer.findings)))}
    fields = sendable(
        {
            "run": answer.run,
            "question": answer.question,
            "as_of": answer.as_of,
            "evidence": [_evidence(each, answer.run, texts) for each in kept],
            "left_out": len(answer.evidence) - len(kept),
            "findings": [
                {
                    "what": each.what,
                    "text": each.text,
                    "value": each.value,
                    "proofs": [span(proof, answer.run, texts) for proof in each.proofs],
                    "trust": "untrusted",
                }
                for each in answer.findings
            ],
            "because": answer.because,
            "explained": answer.explained,
        }
    )
    return Reply(fields, _text(fields, same))


def _named(evidence: Iterable[Evidence], findings: Iterable[Finding]) -> set[int]:
    """All turns that are needed."""
    return {each.turn for each in evidence} | {proof.turn for each in findings for proof in each.proofs}


def span(proof: Proof, run: str, texts: Mapping[int, Turn]) -> dict[str, Any]:
    """A stretch of a turn, with its text."""
    if proof.turn not in texts:
        raise Changed
    text = texts[proof.turn].text(proof.field)[proof.start : proof.end]
    return {"run": run, **proof._asdict(), "text": text, "trust": "untrusted"}


def _evidence(each: Evidence, run: str, texts: Mapping[int, Turn]) -> dict[str, Any]:
    if each.turn not in texts:
        raise Changed
    shown: dict[Field, str] = {"action": each.action, "observation": each.observation}
    places = [
        Proof(each.turn, field, *placed(shown[field], texts[each.turn].text(field), _first(each.proofs, field)))
        for field in FIELDS
        if shown[field]
    ]
    return {
        "turn": each.turn,
        "score": each.score,
        "signals": each.signals,
        "spans": [span(place, run, texts) for place in places],
        "proofs": [proof._asdict() for proof in each.proofs],
    }


def _first(proofs: Sequence[Proof], field: Field) -> int:
    return next((proof.start for proof in proofs if proof.field == field), 0)


def placed(shown: str, whole: str, about: int) -> tuple[int, int]:
    """Where the part of a text stands that was left of it.

    Args:
        shown: The text, or a part of it with `CUT` where something is left out.
        whole: The text.
        about: A place that lies in the part, where the text has the part more than once.
    """
    if shown == whole:
        return 0, len(whole)
    part = shown.removeprefix(CUT).removesuffix(CUT)
    at = whole.rfind(part, 0, about + len(part))
    if at < 0:
        at = whole.find(part)
    if at < 0:
        raise Changed
    return at, at + len(part)


def _text(fields: Mapping[str, Any], same: bool) -> str:
    """For a model that reads it."""
    pieces = [Piece(f"finding, {each['what']}", each["text"]) for each in fields["findings"][:FINDINGS]]
    for each in fields["evidence"]:
        for s in each["spans"]:
            label = f"turn {s['turn']}, {s['field']}, characters {s['start']} to {s['end']}"
            pieces.append(Piece(label, s["text"]))
    if fields["because"]:
        pieces.insert(0, Piece("why there is no evidence", fields["because"]))
    if fields["explained"]:
        pieces.append(Piece("how it was found, as JSON", _json(fields["explained"])))
    count = f"Evidence: {len(fields['evidence'])} turns." if fields["evidence"] else "No evidence."
    if fields["left_out"]:
        count += f" For {fields['left_out']} more turns there was no room."
    if (more := len(fields["findings"]) - FINDINGS) > 0:
        count += f" {more} more findings are in the structured content."
    return f"{count}\n{fenced(pieces, same=same)}" if pieces else count


def sendable(value: Any) -> Any:
    """As JSON and UTF-8 can hold it: a lone surrogate, which no encoding takes, becomes U+FFFD."""
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {sendable(str(name)): sendable(each) for name, each in value.items()}
    if dataclasses.is_dataclass(value):
        return {each.name: sendable(getattr(value, each.name)) for each in dataclasses.fields(value)}
    for method in ("_asdict", "tolist"):  # of named tuples, and of numpy
        if hasattr(value, method):
            return sendable(getattr(value, method)())
    return [sendable(each) for each in (sorted(value) if isinstance(value, set | frozenset) else value)]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
