"""Only the lock shows whether a cluster is running, not the files."""

import os
from pathlib import Path

import pytest

from hack.cluster.embedded import EmbeddedCluster, holders
from hack.cluster.faults import ClusterError
from hack.cluster.machine.state import Progress, Request, State, Status
from hack.cluster.machine.store import claim


def test_a_request_and_a_status_survive_writing(tmp_path: Path) -> None:
    state = State(tmp_path)
    request = Request(serial=7, parts=("api",), artefacts={"etcd": "/x"}, gpus=2)
    status = Status(serial=7, slot=3, parts=("api",), components={"etcd": Progress("ready", 1.5)})
    state.write_request(request)
    state.write_status(status)
    assert state.read_request() == request
    assert state.read_status() == status


@pytest.mark.parametrize("text", ["", "{", '{"serial": '])
def test_an_incomplete_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "request.json").write_text(text)
    (tmp_path / "status.json").write_text(text)
    assert State(tmp_path).read_request() is None
    assert State(tmp_path).read_status() == Status()


def test_a_stale_status_is_not_a_running_cluster(tmp_path: Path) -> None:
    State(tmp_path).write_status(Status(components={"etcd": Progress("ready")}))
    assert not EmbeddedCluster(tmp_path).is_up()
    assert EmbeddedCluster(tmp_path).describe() == [f"no cluster is running in {tmp_path}"]


def test_the_lock_is_held_until_it_is_closed(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert not state.is_running()
    handle = state.lock()
    assert handle is not None
    assert state.is_running()
    assert state.lock() is None
    os.close(handle)
    assert not state.is_running()


def test_a_cluster_without_components_is_not_ready() -> None:
    assert not Status().ready
    assert Status(components={"etcd": Progress("ready")}).ready
    assert not Status(components={"etcd": Progress("ready")}, failure="broken").ready


def test_a_store_in_use_names_its_user(tmp_path: Path) -> None:
    handle = claim(tmp_path / "store", Path("/somewhere/.cluster"))
    with pytest.raises(ClusterError, match=r"in use by the cluster of /somewhere/\.cluster"):
        claim(tmp_path / "store", Path("/elsewhere"))
    os.close(handle)
    os.close(claim(tmp_path / "store", Path("/elsewhere")))


def test_an_open_file_has_a_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w"):
        assert holders(path) == [], "this process itself does not count"
