"""DeepSeek-V3 at its real size, in sparse files."""

from pathlib import Path

import pytest

from deepseek_server.models.loading.checkpoint import Checkpoint, inspect
from hack.models.published.shards import make_published


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_published("DeepSeek-V3", tmp_path_factory.mktemp("published") / "DeepSeek-V3")


@pytest.fixture(scope="session")
def checkpoint(published: Path) -> Checkpoint:
    return inspect(published)
