"""Agreement of `deepseek plan` and the operator: both accept and reject the same resources."""

import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import event, given, settings
from hypothesis import strategies as st

from deepseek_operator.catalog.accelerators import accelerators
from deepseek_operator.catalog.models import models
from deepseek_operator.plan.status.conditions import ACCEPTED, condition
from tests.support.kube import resource
from tests.unit.operator.cli.command import deepseek
from tests.unit.operator.cli.test_render import IMAGE, KINDS, UID, Store, applied

Object = dict[str, Any]

KINDS_OF_GPU = st.sampled_from(sorted(accelerators().profiles))
SIZES = st.sampled_from([1, 2, 3, 4, 8, 16])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Object]:
    """Return a strategy for any subset of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


MODELS = st.fixed_dictionaries(
    {"id": st.sampled_from([*models(), "deepseek-ai/DeepSeek-V1.5"])},
    optional={
        "maxContext": st.sampled_from([16, 4096, 32768, 131072, 10**6]),
        "dtype": st.sampled_from(["auto", "bfloat16", "float16", "float32"]),
        "source": st.just({"hostPath": {"path": "/models/mine"}}),
    },
)
H100 = {"profile": "nvidia-h100"}
# Fields that require optional APIs.
NEEDY: list[Object] = [
    {"observability": {"podMonitor": True}},
    {"scaling": {"maxReplicas": 2, "metrics": "keda", "prometheusAddress": "http://p:9090"}},
    {"scheduling": {"queue": "team-a"}},
    {"security": {"mtls": "STRICT", "jwt": {"issuer": "https://login.example.com"}}},
    {
        "model": {"id": "deepseek-ai/DeepSeek-V3"},
        "accelerator": H100,
        "parallelism": {"tensor": 16},
    },
]
PEERS = [{"namespace": "chat", "serviceAccounts": ["web"]}, {"namespace": "jobs"}]
ANY = st.fixed_dictionaries(
    {"model": MODELS},
    optional={
        "accelerator": st.one_of(
            some(profile=KINDS_OF_GPU, count=SIZES),
            st.builds(lambda kinds: {"profiles": kinds}, st.lists(KINDS_OF_GPU, max_size=3)),
        ),
        "parallelism": some(tensor=SIZES, pipeline=SIZES, data=SIZES, expert=SIZES),
        "engine": some(type=st.sampled_from(["transformers", "vllm", "sglang"])),
        "replicas": st.integers(0, 3),
        "scaling": some(maxReplicas=st.integers(0, 3), metrics=st.sampled_from(["keda", "pods"])),
        "rollout": some(strategy=st.sampled_from(["auto", "canary", "blueGreen"])),
        "routing": some(
            api=st.sampled_from(["auto", "istio", "gatewayAPI", "none"]),
            hosts=st.just(["r1.example.com"]),
            affinity=st.just({"header": "x-session-id"}),
        ),
        "security": some(
            mtls=st.sampled_from(["STRICT", "PERMISSIVE"]),
            allowFrom=st.lists(st.sampled_from(PEERS), max_size=2),
            jwt=st.just({"issuer": "https://login.example.com"}),
            apiKeys=st.just({"secretName": "keys"}),
        ),
        "podTemplate": st.sampled_from(
            [{"spec": {"hostNetwork": True}}, {"spec": {"tolerations": "none"}}, {}]
        ),
    },
)
PLAIN = st.fixed_dictionaries({"model": MODELS})
SPECS = ANY | st.builds(lambda plain, needy: {**plain, **needy}, PLAIN, st.sampled_from(NEEDY))
SERVED = st.sampled_from(
    [KINDS, [], ["LeaderWorkerSet", "PodMonitor"], ["AuthorizationPolicy", "LocalQueue"]]
)


def verdict(body: Object, served: list[str]) -> Object:
    """Return the operator's condition `Accepted` of a new resource, in a cluster without nodes."""
    metadata = {"name": "r1", "namespace": "apps", "uid": UID, "generation": 1}
    stored = {**body, "metadata": {**metadata, "resourceVersion": "1"}, "status": {}}
    store = Store()
    asyncio.run(applied(stored, served, [], store))
    return condition(store.written_status, ACCEPTED)


@given(SPECS, SERVED)
@settings(max_examples=300, deadline=None)
def test_plan_and_operator_agree(spec: Object, served: list[str]) -> None:
    body = resource("r1", **spec)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "r1.yaml"
        file.write_text(yaml.safe_dump(body), encoding="utf-8")
        kinds = ",".join(served) or "none"
        options = ("-n", "apps", "--served", kinds, "--server-image", IMAGE, "-o", "json")
        planned = deepseek("plan", file, *options)
    if planned.code == 2:
        event("rejected by the API server")
        return
    accepted = verdict(body, served)
    event(accepted["reason"])
    assert (planned.code == 0) == (accepted["status"] == "True"), planned.err + planned.out
    if planned.code:
        found = json.loads(planned.out)
        assert (found["reason"], found["message"]) == (
            accepted["reason"],
            accepted["message"],
        )
