"""What every test needs."""

import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
sys.path.insert(0, str(Path(__file__).parent))

LONG = (
    "test_end_to_end", "test_compare", "test_trl_resume", "test_trl_equality", "test_trl_agents", "test_scienceworld",
    "test_trl_two_processes", "test_tune_command", "test_edit_command",
)  # fmt: skip
"""Files that take longest; they come first, so that no worker ends with one while the other has nothing to do."""


def pytest_collection_modifyitems(items):
    """Long files first."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
