"""What holds for all tests."""

import os

import pytest
from hypothesis import settings

# Tiny tensors gain nothing from threads, which on a busy machine wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine makes an example slow, not wrong. The same code gets the same examples, so that a
# failure is the work of the change in which it shows; `make test-random` looks for new ones.
settings.register_profile("project", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "project"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that shows whether tests depend on each other."""
    parser.addoption(
        "--reversed", action="store_true", help="run the tests from the last to the first"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Turn the order round, before fixtures that several tests share bring some together."""
    if config.getoption("--reversed"):
        items.reverse()
