"""Tests that share a running product share a worker of pytest-xdist, so that it is started once. A pytest that is newer
than pytest-xdist knows scatters them without a word, and each run takes minutes longer."""

import os

import pytest

pytestmark = pytest.mark.xdist_group("groups")


def test_groups_are_kept_together(request: pytest.FixtureRequest) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        pytest.skip("one process runs all tests")
    assert request.node.nodeid.endswith("@groups"), "give --dist loadgroup; or this pytest and pytest-xdist do not fit"
