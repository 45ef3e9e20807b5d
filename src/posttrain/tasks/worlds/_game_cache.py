"""Compiled games of TextWorld: each made once, into a folder of its own."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from posttrain.extras import need
from posttrain.files import write_json, writing
from posttrain.tasks.worlds._situations import PARSERS


def cached_row(
    identity: str, make: Callable[[Any], Any], settings: str, cache: str | Path | None, *, family: str
) -> dict[str, Any]:
    """The row of a game, which is compiled unless the cache has it.

    Args:
        identity: The row's id.
        make: Makes the game from TextWorld's `GameOptions`.
        settings: All that the game depends on beside its identity and TextWorld's version.
        cache: The folder of all games.
        family: First part of the game's folder.
    """
    need("textworld")
    digest = hashlib.sha256("\0".join((version("textworld"), identity, settings)).encode()).hexdigest()[:16]
    root = Path(cache or Path(os.environ.get("POSTTRAIN_CACHE") or "~/.cache/posttrain") / "games")
    folder = root.expanduser().absolute() / f"{family}-{digest}"
    if not (folder / "row.json").is_file():
        _compile(folder, make)
    kept = json.loads((folder / "row.json").read_text())
    return {"prompt": kept["prompt"], "id": identity, "game": str(folder / "game.z8"), "max_score": kept["max_score"]}


def _compile(folder: Path, make: Callable[[Any], Any]) -> None:
    """Put a whole folder in place at once; of two processes that compile one game, the first one's stays."""
    textworld = need("textworld")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as temporary:
            made, options = Path(temporary) / "game", textworld.GameOptions()
            options.path = str(made / "game.z8")
            with PARSERS:
                game = make(options)
                game.metadata.setdefault("walkthrough", game.walkthrough)
            textworld.generator.compile_game(game, options)
            write_json(made / "row.json", {"prompt": game.objective, "max_score": int(game.max_score)})
            (made / "game.ni").unlink()
            try:
                made.rename(folder)
            except OSError:
                if not (folder / "row.json").is_file():
                    raise
