"""Fixtures of the tests of the analysis process: a plugin that they name."""

from contextlib import ExitStack

import pytest
from analysis_session import MIB, session


@pytest.fixture
def start():
    """Start sessions; they end after the test."""
    with ExitStack() as stack:
        yield lambda capacity: stack.enter_context(session(capacity))


@pytest.fixture(scope="module")
def shared():
    """One session for many recordings, as a sweep has it."""
    with session(4 * MIB) as made:
        yield made
