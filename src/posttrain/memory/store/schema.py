"""The tables of a memory, the same in SQLite and PostgreSQL.

| table | what | made from |
|---|---|---|
| `run` | names, and how far each is indexed | |
| `turn` | the turns as they came, for ever | |
| `superseded` | contents that others took the place of | |
| `given` | idempotency keys | |
| `output` | what models said about turns | |
| `outbox` | what models have yet to say | |
| `vector` | vectors of turns, by space | `turn` |
| `fresh` | words, facts, postings and edges of the last turns of each run, one by one | `turn`, `output` |
| `segment`, `part` | those of the turns before, by what they are looked up by (`segment.py`) | `turn`, `output` |

A turn is one number, run << 32 | turn, so that a run lies together. `vector` is not clustered: SQLite would give each
vector a page of its own. Texts are UTF-8 bytes, in which NUL characters and
lone surrogates survive.
"""

from __future__ import annotations

VERSION = 1
"""Of the tables. A database says which it has; a newer one is not touched."""

MARK = 0x50744D6D
"""SQLite's `application_id` of a memory."""

TABLES = """
CREATE TABLE run (
    id {serial}, name {bytes} NOT NULL UNIQUE, closed {int} NOT NULL DEFAULT 0, revision {int} NOT NULL DEFAULT 0,
    epoch {int} NOT NULL DEFAULT 0, last {int} NOT NULL DEFAULT -1, stale {int}
);
CREATE TABLE turn (id {int} PRIMARY KEY, action {bytes} NOT NULL, observation {bytes} NOT NULL);
CREATE TABLE superseded (
    id {int} NOT NULL, version {int} NOT NULL, action {bytes} NOT NULL, observation {bytes} NOT NULL,
    PRIMARY KEY (id, version)
){clustered};
CREATE TABLE given (
    run {int} NOT NULL, name {bytes} NOT NULL, turn {int} NOT NULL, PRIMARY KEY (run, name)
){clustered};
CREATE TABLE output (
    id {int} NOT NULL, model {bytes} NOT NULL, input {bytes} NOT NULL, rows {bytes} NOT NULL, PRIMARY KEY (id, model)
){clustered};
CREATE TABLE outbox (
    id {int} NOT NULL, work {bytes} NOT NULL, tries {int} NOT NULL DEFAULT 0, error {bytes}, PRIMARY KEY (id, work)
){clustered};
CREATE TABLE vector (
    id {int} NOT NULL, space {bytes} NOT NULL, numbers {bytes} NOT NULL, PRIMARY KEY (id, space)
);
CREATE TABLE fresh (id {int} PRIMARY KEY, words {bytes} NOT NULL, graph {bytes} NOT NULL);
CREATE TABLE segment (id {int} PRIMARY KEY, last {int} NOT NULL, form {bytes} NOT NULL, lengths {bytes} NOT NULL);
CREATE TABLE part (id {int} NOT NULL, name {bytes} NOT NULL, rows {bytes} NOT NULL, PRIMARY KEY (id, name)){clustered};
"""

BY_TURN = ("turn", "superseded", "output", "outbox", "vector", "fresh", "segment", "part")
"""Tables whose `id` is the place of a turn."""

NAMES = ("run", "given", *BY_TURN)
"""Of all tables."""
