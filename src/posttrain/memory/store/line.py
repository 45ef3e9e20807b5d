"""One line of an export: texts as JSON can hold them, and values that are what they must be, or a sentence."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from posttrain.memory.store.tables import MOST


def plain(text: str) -> Any:
    """A text, or, where JSON would change it, its bytes."""
    return text if text.isascii() or not any("\ud800" <= each <= "\udfff" for each in text) else {
        "base64": base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()
    }  # fmt: skip


class Line:
    """What a line says.

    Args:
        values: Its JSON.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = values

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str:
        """A text.

        Raises:
            ValueError: There is none of this name.
        """
        return self._text(name, self._value(name))

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty if it is left out.

        Raises:
            ValueError: It is something else.
        """
        given = self.values.get(name, [])
        if not isinstance(given, list):
            raise ValueError(f"its {name!r} must be a list of texts, and is {_short(given)}")
        return [self._text(name, each) for each in given]

    def number(self, name: str) -> int:
        """A whole number, as turns have.

        Raises:
            ValueError: There is none of this name.
        """
        given = self._value(name)
        if type(given) is not int or not 0 <= given <= MOST:
            raise ValueError(f"its {name!r} must be a whole number from 0 to {MOST}, and is {_short(given)}")
        return given

    def digest(self, name: str) -> bytes:
        """16 bytes.

        Raises:
            ValueError: There are none of this name.
        """
        given = self.text(name)
        try:
            found = bytes.fromhex(given)
        except ValueError:
            found = b""
        if len(found) != 16:
            raise ValueError(f"its {name!r} must be 32 hexadecimal digits, and is {_short(given)}")
        return found

    def _value(self, name: str) -> Any:
        if name not in self.values:
            raise ValueError(f"it has no {name!r}")
        return self.values[name]

    def _text(self, name: str, given: Any) -> str:
        if isinstance(given, str):
            return given
        if isinstance(given, dict) and isinstance(given.get("base64"), str):
            try:
                return base64.b64decode(given["base64"], validate=True).decode("utf-8", "surrogatepass")
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"its {name!r} is no text in base64 ({error})") from error
        raise ValueError(f"its {name!r} must be a text, and is {_short(given)}")


def _short(given: Any) -> str:
    said = repr(given)
    return said if len(said) <= 60 else said[:60] + "..."
