from pathlib import Path

import pytest

from deepseek_server.config import Gang
from deepseek_server.distributed.gang import Pod
from deepseek_server.errors import PermanentError

GANG = Gang(pods=2)
ENVIRONMENT = {
    "LWS_LEADER_ADDRESS": "model-0.model.default",
    "LWS_GROUP_SIZE": "2",
    "LWS_WORKER_INDEX": "1",
    "LWS_GROUP_INDEX": "3",
    "NODE_NAME": "node-b",
}


def test_the_environment_of_a_leader_worker_set() -> None:
    pod = Pod.from_environment(GANG, ENVIRONMENT)
    assert pod == Pod(1, "model-0.model.default", "node-b", "3")
    assert not pod.leads
    assert Pod.from_environment(GANG, {**ENVIRONMENT, "LWS_WORKER_INDEX": "0"}).leads


def test_without_a_node_name_the_hostname_is_used(monkeypatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "model-0-1")
    pod = Pod.from_environment(GANG, {**ENVIRONMENT, "NODE_NAME": ""})
    assert pod.host == "model-0-1"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"LWS_GROUP_SIZE": "3"}, "gang.pods 2, but the environment has LWS_GROUP_SIZE=3"),
        ({"LWS_GROUP_SIZE": ""}, "LWS_GROUP_SIZE='': start the pods with a LeaderWorkerSet"),
        ({"LWS_GROUP_SIZE": "two"}, "LWS_GROUP_SIZE='two'"),
        ({"LWS_WORKER_INDEX": "²"}, "LWS_WORKER_INDEX='²'"),
        ({"LWS_WORKER_INDEX": "2"}, "number the pods from 0 to 1"),
        ({"LWS_LEADER_ADDRESS": ""}, "has no LWS_LEADER_ADDRESS: set it to the name of the pod"),
    ],
)
def test_an_environment_that_contradicts_the_configuration(changed: dict, words: str) -> None:
    with pytest.raises(PermanentError) as refused:
        Pod.from_environment(GANG, ENVIRONMENT | changed)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_holds_need_the_number_of_the_group() -> None:
    gang = Gang(pods=2, holds=Path("/etc/holds.json"))
    with pytest.raises(PermanentError, match="LWS_GROUP_INDEX='': set it to the number"):
        Pod.from_environment(gang, {**ENVIRONMENT, "LWS_GROUP_INDEX": ""})
