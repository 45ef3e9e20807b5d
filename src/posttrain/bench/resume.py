"""The rows of a bench that was killed: what its file holds is kept, what broke is run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.files import read_lines, rewrite_lines


def kept_rows(path: Path, head: dict[str, Any], of: str) -> dict[str, dict[str, Any]]:
    """The sound rows of a file by their keys. Rows that broke, and one that a kill cut short, are taken out of it.

    Args:
        path: JSON lines; the first says of what the others are. It is made if it is not there.
        head: What that line must say.
        of: What it holds otherwise, for the sentence; `{other}` stands for the keys that differ.

    Raises:
        ValueError: The file holds rows of something else.
    """
    lines = list(read_lines(path))
    other = [key for key in {**head, **lines[0]} if lines[0].get(key) != head.get(key)] if lines else []
    if other:
        held = of.format(other=" and another ".join(other))
        raise ValueError(f"{path} holds {held}; give another folder with --out, or delete it.")
    sound = [line for line in lines[1:] if not line["error"]]
    rewrite_lines(path, [head, *sound])
    return {line["key"]: line for line in sound}
