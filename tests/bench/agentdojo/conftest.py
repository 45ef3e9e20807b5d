"""One suite for all tests of a file."""

import pytest


@pytest.fixture(scope="module")
def suite():
    pytest.importorskip("agentdojo")
    from agentdojo.task_suite import get_suite

    return get_suite("v1.2.1", "slack")
