"""The stable ids of a data set's prompts, by which methods remember them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from posttrain.tasks.dataset import prompt_id


def key_of(row: Mapping[str, Any]) -> str:
    """A row's `id`, or a hash of its prompt."""
    if row.get("id") is not None:
        return str(row["id"])
    return prompt_id(row.get("prompt", ""))


class PromptIds:
    """Ids of a data set; one that is only iterable has ids, but no row can be looked up."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.sized = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")

    @cached_property
    def places(self) -> dict[str, int]:
        """The first row of each id."""
        places: dict[str, int] = {}
        for i, row in enumerate(self._columns()):
            places.setdefault(key_of(row), i)
        return places

    def check(self) -> list[str]:
        """What is worth telling about ids that rows share.

        Raises:
            ValueError: One id stands for two different prompts.
        """
        if not self.sized:
            return []
        seen: dict[str, str] = {}
        repeated = 0
        for row in self._columns():
            key, text = key_of(row), prompt_id(row.get("prompt", ""))
            if seen.setdefault(key, text) != text:
                raise ValueError(
                    f"The id {key!r} stands for two different prompts, whose histories would be mixed; give each "
                    "prompt its own id, or remove the column and let ids be made from the prompts."
                )
            repeated += 1
        repeated -= len(seen)
        return [f"{repeated} rows repeat the prompt of another row and share its history."] if repeated else []

    def check_given(self, name: str) -> None:
        """Raise if ids would be made from prompts."""
        if "id" not in (getattr(self.dataset, "column_names", None) or ("id",)):
            raise ValueError(
                f"{name} remembers games, and the data set has no column `id`; give every game its own, because "
                "different games can have equal prompts."
            )

    def row(self, key: str) -> Mapping[str, Any]:
        """The data set's row with this id."""
        if not self.sized:
            raise ValueError(
                "This recipe looks rows up by their id, which a streamed data set cannot do; load it whole."
            )
        if key not in self.places:
            raise ValueError(
                f"The data set has no row with the id {key!r}; resume with the data set of the checkpoint."
            )
        return self.dataset[self.places[key]]

    def _columns(self) -> Iterable[Mapping[str, Any]]:
        """The rows with nothing but id and prompt."""
        select = getattr(self.dataset, "select_columns", None)
        if select is None:
            return (self.dataset[i] for i in range(len(self.dataset)))
        return select([name for name in ("id", "prompt") if name in self.dataset.column_names])
