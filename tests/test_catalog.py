"""README and the command line say the same about what lives here."""

from dataclasses import is_dataclass
from pathlib import Path

import pytest

from posttrain import catalog, rl

ROOT = Path(__file__).parents[1]


def test_readme_has_the_table_of_the_catalog():
    assert catalog.table() in (ROOT / "README.md").read_text()


def test_there_are_fifteen_papers_each_with_its_own_number():
    assert len(catalog.PAPERS) == 15
    assert len({m.arxiv for m in catalog.PAPERS}) == 15
    assert {m.state for m in catalog.PAPERS} <= {"ready", "in work", "planned"}


@pytest.mark.parametrize("name", catalog.RECIPES)
def test_a_recipe_of_the_catalog_is_a_builder_of_the_package(name):
    method = catalog.method_class(name)
    assert is_dataclass(method)
    assert method.name == name
    assert getattr(rl, name).__name__ == name


@pytest.mark.parametrize("method", [m for m in catalog.PAPERS if m.state != "planned"], ids=lambda m: m.name)
def test_a_method_that_is_here_has_a_page(method):
    page = (ROOT / "docs" / f"{method.slug}.md").read_text()
    for heading in ("## The claim", "## The equation", "## Use it", "## What is logged", "## What we measured",
                    "## What differs from the paper"):  # fmt: skip
        assert heading in page
    assert method.arxiv in page
    assert "<!--" not in page
    assert list((ROOT / "results").glob(f"{method.slug}-*.json")), "a method that is here has a measured claim"
