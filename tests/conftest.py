"""What holds for all tests."""

import os

from hypothesis import settings

# Tiny tensors gain nothing from threads, which on a busy machine wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine makes an example slow, not wrong.
settings.register_profile("project", deadline=None)
settings.load_profile("project")
