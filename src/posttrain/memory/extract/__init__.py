"""What an observation tells: one reader for each form of text, and this dispatcher, line by line.

Only the first `said.READ` characters are read. Lines are read apart from each other, except that a header says what
the lines under it are about, a table or a literal may take several lines, and `it` is what was last told of.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache

from posttrain.memory.extract import code, log, markup, names, pairs, prose, records, table
from posttrain.memory.extract.literal import literal
from posttrain.memory.extract.phrase import stated
from posttrain.memory.extract.said import AGENT, NAMES, PLACE, READ, STATE, Heard, Named, Said, readable, value_of
from posttrain.memory.extract.words import HINTS

__all__ = ["READ", "observed"]

LITERALS = 8
"""After so many beginnings of a literal in one text that turned out to be none, no more is tried."""
LINE = 4000
"""Of a longer line only so many first characters are read, unless it is a literal or a table."""

GAP = 100
"""Of a line with more spaces in a row than these, only what is before them is read."""

_FENCE = re.compile(r"\s*```\s*(\w*)\s*$")
_GAP = re.compile(rf"(?<=\S)\s{{{GAP}}}")
_TITLE = re.compile(r"\s*+(?:-=+|=+|\#+|\*\*)\s*+(?P<room>[^=*#]{1,60}?)\s*(?:=+-|=+|\*\*)\s*$")
_CSV = re.compile(r"[\w \"./()\-]+(?:,[\w \"./()\-]+)+$")


def observed(observation: str, seen: Collection[str], here: str | None) -> Heard:
    """What an observation tells.

    Args:
        observation: The text.
        seen: Lines of the observation before. What they name is not given again; what they tell is.
        here: Where the agent is, as far as it is known.
    """
    text = readable(observation)
    reader = _Reader(text, seen, here)
    reader.read()
    return Heard(reader.states, reader.names, reader.used)


class _Reader:
    """Goes through a text once."""

    def __init__(self, text: str, seen: Collection[str], here: str | None) -> None:
        self.text, self.seen, self.here = text, seen, here
        self.states: list[Said] = []
        self.names: list[Named] = []
        self.used: list[Named] = []
        self.it: str | None = None
        self.header: pairs.Header | None = None
        self.tries = LITERALS

    def read(self) -> None:
        """All of it."""
        at, end = 0, len(self.text)
        while at < end:
            at = self._line(at, self._stop(at)) + 1

    def _stop(self, at: int) -> int:
        """Where a line ends."""
        stop = self.text.find("\n", at)
        return len(self.text) if stop < 0 else stop

    def _line(self, start: int, stop: int) -> int:
        """Read what begins with a line; gives where it ends."""
        text = self.text
        line = text[start:stop]
        bare = line.lstrip()
        if not bare:
            if not (self.header and self.header.kind == "list" and text[start - 2 : start - 1] == ":"):
                self.header = None
            return stop
        first = bare[0]
        if first == "[" and markup.is_node(line):
            self._lines(line, start)
            return stop
        if self.tries and (opened := self._opening(line, bare, first)) >= 0:
            node = literal(text, start + opened)
            if node is not None:
                self._take(records.told(text, node), line not in self.seen)
                return self._stop(node.end)
            self.tries -= 1
        if first in "|│┃┌╭╔├" or bare.startswith(("+-", "+=")):
            return self._table(start, stop)
        if first == "`" and (fence := _FENCE.match(line)):
            return self._fenced(stop, fence[1].lower())
        if "\t" in line or "," in line:
            mark = "\t" if "\t" in line else ","
            after = self._separated(start, stop, mark)
            if after > stop:
                return after
        self._lines(line, start)
        return stop

    @staticmethod
    def _opening(line: str, bare: str, first: str) -> int:
        """Where a literal may begin in a line; -1 for nowhere."""
        if first in "{[":
            return len(line) - len(bare)
        brace = line.find("{")
        return brace if 0 < brace < 80 and line[brace - 1] in " :=(" else -1

    # ---- tables

    def _block(self, start: int, stop: int, belongs: re.Pattern[str]) -> list[tuple[int, int]]:
        """The lines from this one on that belong to a table."""
        text, spans = self.text, [(start, stop)]
        while stop < len(text):
            after = self._stop(stop + 1)
            if not belongs.match(text, stop + 1, after):
                break
            spans.append((stop + 1, after))
            stop = after
        return spans

    def _table(self, start: int, stop: int) -> int:
        spans = self._block(start, stop, _BARRED)
        rows = [span for span in spans[: 2 * table.ROWS] if not table.is_rule(self.text[slice(*span)])]
        self._rows([table.cells(self.text, *span, "|") for span in rows[: table.ROWS + 1]], spans)
        return spans[-1][1]

    def _separated(self, start: int, stop: int, mark: str) -> int:
        """Lines of cells with a comma or a tab between; gives where they end, `stop` if they are none."""
        text = self.text
        line = text[start:stop]
        if len(line) > 2000 or (mark == "," and not _CSV.match(line)) or line[0] in " \t":
            return stop
        if mark == "\t" and line.split("\t", 1)[0].strip().isdigit():
            return stop
        count = line.count(mark)
        spans, rows, last = [(start, stop)], [table.cells(text, start, stop, mark)], stop
        while last < len(text):
            first = last + 1
            after = self._stop(first)
            if text.count(mark, first, after) < count or text[first:after].isspace():
                break
            if len(rows) <= table.ROWS:
                cells = table.cells(text, first, after, mark)
                if len(cells) != count + 1:
                    break
                rows.append(cells)
                spans.append((first, after))
            last = after
        if len(rows) < 2:
            return stop
        self._rows(rows, spans)
        return last

    def _fenced(self, stop: int, kind: str) -> int:
        """The lines up to the closing fence, where they are a table; other fences are read line by line."""
        if kind not in ("csv", "tsv"):
            return stop
        after = self.text.find("```", stop)
        after = len(self.text) if after < 0 else after
        mark = "," if kind == "csv" else "\t"
        spans: list[tuple[int, int]] = []
        at = stop + 1
        while at < after and len(spans) <= table.ROWS:
            end = min(self._stop(at), after)
            if self.text[at:end].strip():
                spans.append((at, end))
            at = end + 1
        self._rows([table.cells(self.text, *span, mark) for span in spans], spans)
        return self._stop(after)

    def _rows(self, rows: list[list[table.Cell]], spans: list[tuple[int, int]]) -> None:
        if len(rows) > 1:
            news = any(self.text[slice(*span)] not in self.seen for span in spans)
            self._take(table.rows(self.text, rows[0], rows[1:]), news)

    # ---- lines

    def _lines(self, line: str, start: int) -> None:
        """One line that stands for itself."""
        line = line[:LINE]
        if len(line) > GAP:
            deep = max(len(line) - len(line.lstrip()) - GAP, 0)
            line, start = line[deep:], start + deep
            gap = _GAP.search(line)
            line = line[: gap.start()] if gap else line
        told, opened, item = _read_line(line)
        news = line not in self.seen
        if self.header and item and self.header.kind != "entity":
            self._take(_shifted(_item(line, self.header, item), start), news)
        elif self.header and self.header.kind == "entity" and (line[0] in " \t" or item):
            under = self.header._replace(named=(self.header.named[0] - start, self.header.named[1] - start))
            again = list(pairs.pairs(line, 0, len(line), under))
            self._take(_shifted(again or told, start), news)
        else:
            if not opened:
                self.header = None
            self._take(_shifted(told, start), news)
        if opened:
            self.header = opened._replace(named=(opened.named[0] + start, opened.named[1] + start))

    def _take(self, told: Iterable[Said | Named], news: bool) -> None:
        """Keep what was told, with what `here` and `it` stand for."""
        for each in told:
            if isinstance(each, Named):
                if news and len(self.names) < 8 * NAMES:
                    self.names.append(each)
                continue
            entity, value, named = each.entity, each.value, each.named
            if entity in (prose.IT, prose.HERE):
                entity = self.it if entity == prose.IT else self.here
                named = None
            elif value not in (prose.IT, prose.HERE) or (each.attribute != PLACE and value != prose.IT):
                self.it = entity
            if value == prose.IT:
                value = self.it
            elif value == prose.HERE:
                value = (self.here or "ground") if each.done else self.here
            if not each.attribute:
                self.used.append(Named(each.entity, *each.named))
                continue
            if not entity or value is None or (entity, each.attribute) == (value, PLACE):
                if news and entity and named:
                    self.names.append(Named(entity, *named))
                continue
            if entity == AGENT and each.attribute == PLACE:
                self.here = value
            self.states.append(each._replace(entity=entity, value=value, named=named or (each.start, each.end)))
            if news and named:
                self.names.append(Named(entity, *named))


_BARRED = re.compile(r"[ \t]*[|│┃+┌╭╔├└╰╚╠]")


def _shifted(told: Iterable[Said | Named], by: int) -> Iterator[Said | Named]:
    for each in told:
        if isinstance(each, Named):
            yield Named(each.entity, each.start + by, each.end + by)
        else:
            named = (each.named[0] + by, each.named[1] + by)
            yield each._replace(start=each.start + by, end=each.end + by, named=named)


def _item(line: str, header: pairs.Header, start: int) -> Iterator[Said | Named]:
    """An item of a list under a header."""
    if header.kind == "exits":
        yield from prose.exits(line, start, len(line))
        return
    it = stated(line, start, len(line))
    if it is None:
        return
    span = (it.start, it.end)
    yield Said(it.name, PLACE, header.name, *span, span)
    if it.state:
        yield Said(it.name, STATE, value_of(line[slice(*it.state)]), *it.state, span)


@lru_cache(maxsize=8192)
def _read_line(line: str) -> tuple[tuple[Said | Named, ...], pairs.Header | None, int]:
    """What a line tells by itself, what it opens, and where its text begins if it is an item of a list."""
    if HINTS.match(line):
        return (), None, 0
    end = len(line)
    if markup.is_node(line):
        return tuple(markup.node(line, 0, end)), None, 0
    if log.is_log(line):
        return (*log.told(line, 0, end), *names.named(line, 0, end)), None, 0
    if markup.is_html(line):
        return tuple(markup.html(line, 0, end)), None, 0
    if title := _TITLE.match(line):
        room = stated(line, *title.span("room"))
        told = (
            (Said(AGENT, PLACE, room.name, room.start, room.end, (room.start, room.end)),)
            if room and "-=" in line
            else ()
        )
        return told, None, 0
    if code.is_code(line):
        return (*code.named(line, 0, end), *names.named(line, 0, end)), None, 0
    bullet = pairs.BULLET.match(line)
    item = bullet.end() if bullet else 0
    named = tuple(names.named(line, 0, end))
    bare = line.rstrip()
    if bare.endswith(":") and not item:
        opened = pairs.header(line, len(line) - len(line.lstrip()), len(bare) - 1)
        if opened:
            return named, opened, 0
    if pairs.PAIR.match(line) and (told := tuple(pairs.pairs(line, 0, end, None))):
        return (*told, *named), None, item
    return (*prose.told(line, item, end), *named), None, item
