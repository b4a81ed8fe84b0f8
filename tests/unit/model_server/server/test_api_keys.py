"""The file of API keys, and what happens when it changes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_server.errors import PermanentError
from deepseek_server.server.api_keys import LOOK_SECONDS, Keyring, digest
from tests.unit.model_server.server.test_rate_limits import Clock


def entry(name: str, key: str, **fields: int) -> dict[str, object]:
    return {"name": name, "sha256": digest(key.encode()).hex(), **fields}


def write(path: Path, *entries: dict[str, object]) -> Path:
    path.write_text(json.dumps(entries))
    return path


def keyring(path: Path) -> tuple[Keyring, Clock]:
    clock = Clock()
    return Keyring(path, clock), clock


def name_of(ring: Keyring, key: str) -> str | None:
    found = ring.find(key.encode())
    return None if found is None else found[0]


def test_a_key_is_identified_by_its_digest(tmp_path: Path) -> None:
    upper = {**entry("b", "key-b"), "sha256": digest(b"key-b").hex().upper()}
    ring, _ = keyring(write(tmp_path / "keys.json", entry("a", "key-a"), upper))
    assert [name_of(ring, key) for key in ("key-a", "key-b")] == ["a", "b"]
    for wrong in ("", "key-c", "key-a ", digest(b"key-a").hex()):
        assert name_of(ring, wrong) is None


def test_a_changed_mounted_secret_is_read_again(tmp_path: Path) -> None:
    """Replace the link `..data` by one to another directory, as the kubelet does."""
    for version, key in (("v1", "old"), ("v2", "new")):
        (tmp_path / version).mkdir()
        write(tmp_path / version / "keys.json", entry("a", key))
    (tmp_path / "..data").symlink_to("v1")
    (tmp_path / "keys.json").symlink_to("..data/keys.json")
    ring, clock = keyring(tmp_path / "keys.json")
    assert name_of(ring, "old") == "a"

    (tmp_path / "..next").symlink_to("v2")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert name_of(ring, "old") == "a"  # checked at most once a second
    clock.now += LOOK_SECONDS
    assert (name_of(ring, "old"), name_of(ring, "new")) == (None, "a")


def test_a_broken_file_keeps_the_previous_keys_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "keys.json", entry("a", "key-a"))
    ring, clock = keyring(path)
    for broken in ("{", None):
        if broken is None:
            path.unlink()
        else:
            path.write_text(broken)
        clock.now += LOOK_SECONDS
        assert not ring.valid
        assert name_of(ring, "key-a") == "a"
        assert "keeping the previous 1 keys" in caplog.text
        logged = len(caplog.records)
        clock.now += LOOK_SECONDS
        assert not ring.valid
        assert len(caplog.records) == logged  # once per version

    write(path, entry("a", "key-a"), entry("b", "key-b"))
    clock.now += LOOK_SECONDS
    assert ring.valid
    assert name_of(ring, "key-b") == "b"


def test_usage_survives_a_change_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "keys.json", entry("a", "old", requestsPerMinute=1))
    ring, clock = keyring(path)
    found = ring.find(b"old")
    assert found is not None
    assert found[1].enter() is None
    write(path, entry("a", "another-key", requestsPerMinute=1))
    os.utime(path, (1, 1))
    clock.now += LOOK_SECONDS
    found = ring.find(b"another-key")
    assert found is not None
    assert found[1].enter() is not None

    write(path, entry("a", "another-key", requestsPerMinute=5))
    os.utime(path, (2, 2))
    clock.now += LOOK_SECONDS
    found = ring.find(b"another-key")
    assert found is not None
    assert found[1].enter() is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("{}", 'must be a list of {"name", "sha256"}'),
        ([{"name": "a"}], "0.sha256 is missing"),
        ([{"name": "a", "sha256": "sk-secret"}], "0.sha256: string should match"),
        ([entry("a b", "x")], "0.name: string should match"),
        ([entry("a", "x", requestsPerMinute=0)], "0.requestsPerMinute: input should be greater"),
        ([entry("a", "x", rpm=5)], "0.rpm is not a known field"),
        ([entry("a", "x"), entry("a", "y")], "has the name a twice"),
        ([entry("a", "x"), entry("b", "x")], "has the sha256"),
    ],
)
def test_a_file_that_is_invalid_at_the_start(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "keys.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(PermanentError) as failure:
        Keyring(path)
    assert words in str(failure.value)
    assert str(path) in str(failure.value)
    assert "sk-secret" not in str(failure.value)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deepseek_server.server.api_keys", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_created_key_is_accepted(tmp_path: Path) -> None:
    key, line = make("new", "team-a", "--tokens-per-minute", "1000").stdout.splitlines()
    (tmp_path / "keys.json").write_text(f"[{line}]")
    ring, _ = keyring(tmp_path / "keys.json")
    found = ring.find(key.encode())
    assert found is not None
    assert (found[0], found[1].allowance.tokens_per_minute) == ("team-a", 1000)
    assert key not in line


def test_an_invalid_name() -> None:
    refused = make("new", "team a")
    assert refused.returncode == 2
    assert "name: string should match" in refused.stderr
