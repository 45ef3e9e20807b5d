"""Shares with their intervals in as few characters as they need."""

import pytest

from posttrain.bench.table import interval
from posttrain.stats import wilson


@pytest.mark.parametrize(
    ("successes", "n", "text"),
    [(0, 10, "0.00 0–.28"), (10, 10, "1.00 .72–1"), (5, 10, "0.50 .24–.76"), (1, 1_000_000, "0.00 0–0")],
)
def test_an_interval_in_words(successes, n, text):
    """Wilson at 5 of 10: (0.5 + 0.192 ± 0.365) / 1.384 gives 0.24 and 0.76."""
    value = wilson(successes, n)._asdict()
    assert interval(value).replace("[dim]", "").replace("[/dim]", "") == text
    assert interval(value, n=True).replace("[dim]", "").replace("[/dim]", "") == f"{text}, n {n}"


def test_nothing_counted_is_a_dash():
    assert interval(None) == "-"
