"""Settings of all tests."""

import os

import pytest
from hypothesis import settings

# Threads don't speed up tiny tensors, and on a busy machine they wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No deadline: a slow example on a busy machine is not a failure. Examples are the same for the same
# code, so that a failure is caused by the change that shows it; `make test-random` tries new ones.
settings.register_profile("project", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "project"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option --reversed, which reveals dependencies between tests."""
    parser.addoption(
        "--reversed", action="store_true", help="run the tests from the last to the first"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Reverse the order of tests, before pytest groups them by shared fixtures."""
    if config.getoption("--reversed"):
        items.reverse()
