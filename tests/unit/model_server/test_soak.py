"""A short soak test; `make soak` runs the long one."""

from pathlib import Path

from hack.soak.run import Plan, soak
from hack.soak.scenarios import SCENARIOS


def test_fifteen_seconds_of_everything(tmp_path: Path) -> None:
    found = soak(Plan(seconds=15, prompts=8), tmp_path)
    assert found["complaints"] == []
    assert set(found["played"]) == {scenario.__name__ for scenario in SCENARIOS}
    assert found["preemptions"] > 0, "the cache was large enough for all"
    assert found["found_in_cache"] > 0
    assert found["statuses"]["status 400"] > 0
