"""What a sender chose and the log would repeat, made harmless: it is short, printable, and spells no secret.

Names of sessions, calls, methods and parameters, hosts, and the sources of spans are for whoever reads the log; a
sender can write anything there, encoded secrets and line breaks included.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from posttrain.guard.egress.decode import views
from posttrain.guard.egress.facts import Facts
from posttrain.guard.egress.secrets import Secrets

LONGEST = 128
"""Characters of a name that are kept."""
LONGEST_HOST = 253
LONGEST_SENTENCE = 1_000


class Redactor:
    """Cleans texts, each known one once.

    Args:
        secrets: To take out.
        depth: Of decodings, as for requests.
        limit: Of views, as for requests.
    """

    def __init__(self, secrets: Secrets, depth: int, limit: int) -> None:
        self.secrets, self.depth, self.limit = secrets, depth, limit
        self.text = lru_cache(maxsize=4096)(self._text)

    def _text(self, text: str, longest: int = LONGEST) -> str:
        """A text as it may be written down."""
        short = text if len(text) <= longest else f"{text[: longest - 1]}\u2026"
        seen = short if short.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in short)
        left = self.secrets.redact(seen)
        found = views(left.encode("utf-8", "surrogatepass"), self.depth, self.limit)
        carried = self.secrets.carried([view.data for view in found.views])
        return f"<secret:{','.join(sorted(carried))}>" if carried else left

    def hides(self, host: str) -> bool:
        """Whether a host may not be written down."""
        return self.text(host, LONGEST_HOST) != host

    def sentence(self, text: str) -> str:
        """A finding's sentence."""
        return self.text(text, LONGEST_SENTENCE)

    def record(self, facts: Facts, known: str | None, methods: tuple[str, ...]) -> dict[str, Any]:
        """Facts as JSON.

        Args:
            facts: Of a request.
            known: The pattern of the policy that names its host, which is written for a host that is hidden.
            methods: That the policy names, which are no sender's text.
        """
        record = facts.as_record()
        if known is not None and facts.hidden:
            record["host"] = known.partition(":")[0].lower()
        for name in ("host", "site") if known is None else ():
            record[name] = self.text(record.get(name, ""), LONGEST_HOST)
        for name in ("session", "call", *(() if facts.method in methods else ("method",))):
            record[name] = self.text(record.get(name, ""))
        for name, fields in (("tokens", ("where",)), ("named", ("source", "path"))):
            if name in record:
                record[name] = [one | {field: self.text(one[field]) for field in fields} for one in record[name]]
        return record
