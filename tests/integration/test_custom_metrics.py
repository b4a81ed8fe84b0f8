"""custom.metrics.k8s.io through the API server, and direct requests to the operator.

The operator runs on this machine, and the API server reaches it through a Service that names this
machine; pods are objects only, whose addresses are on loopback.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from hack.cluster.embedded import EmbeddedCluster
from hack.cluster.faults import ClusterError
from hack.cluster.kubectl import kubectl
from hack.cluster.target import Target
from tests.support.kube import Kube, eventually, resource
from tests.support.operator_process import OperatorProcess

ROOT = "/apis/custom.metrics.k8s.io/v1beta2"
NAME = "v1beta2.custom.metrics.k8s.io"
ADDRESS = "127.0.0.77"
METRICS = b"""deepseek_server_num_requests_running{model_name="r1"} 3.0
deepseek_server_num_requests_waiting{model_name="r1"} 4.0
deepseek_server_kv_cache_usage_perc{model_name="r1"} 0.5
"""


class Pod(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(METRICS)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def pod(kube: Kube) -> Iterator[None]:
    """A ready pod of model r1 with a loopback address, and one that is not ready."""
    server = ThreadingHTTPServer((ADDRESS, 8000), Pod)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    labels = {
        "app.kubernetes.io/managed-by": "deepseek-operator",
        "deepseek-operator.io/name": "r1",
    }
    kube.run("create", "serviceaccount", "default")
    for name, ready in (("r1-a", "True"), ("r1-b", "False")):
        spec = {"containers": [{"name": "server", "image": "x"}]}
        metadata = {"name": name, "labels": labels}
        kube.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        status = {
            "podIP": ADDRESS,
            "podIPs": [{"ip": ADDRESS}],
            "conditions": [{"type": "Ready", "status": ready}],
        }
        patch = json.dumps({"status": status})
        kube.run("patch", "pod", name, "--subresource=status", "--type=merge", "--patch", patch)
    yield
    server.shutdown()
    server.server_close()


@dataclass
class Serving:
    """The operator while it serves the API."""

    kube: Kube
    operator: OperatorProcess
    port: int
    pki: Path
    api_server: str

    def raw(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(kubectl(self.kube.target, "get", "--raw", path))
        return answer

    def answers(self) -> bool:
        try:
            return self.raw(ROOT)["groupVersion"] == "custom.metrics.k8s.io/v1beta2"
        except ClusterError:
            return False

    def available(self) -> bool:
        """Return whether the API server reports the API as available."""
        service = self.kube.get("apiservice", NAME) or {}
        conditions = service.get("status", {}).get("conditions", [])
        return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)

    def is_found(self) -> bool:
        """Return whether discovery lists the API in the form that autoscalers use."""
        context = ssl.create_default_context(cafile=self.pki / "ca.crt")
        context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        answer = httpx.get(
            f"{self.api_server}/apis", headers={"Accept": accept}, verify=context, trust_env=False
        )
        return any(
            version["version"] == "v1beta2" and version["freshness"] == "Current"
            for group in answer.raise_for_status().json()["items"]
            for version in group["versions"]
            if group["metadata"]["name"] == "custom.metrics.k8s.io"
        )

    def directly(self, path: str, pair: str = "", **headers: str) -> httpx.Response:
        """Send a request past the API server, with a certificate of the cluster or without one."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if pair:
            context.load_cert_chain(self.pki / f"{pair}.crt", self.pki / f"{pair}.key")
        url = f"https://127.0.0.1:{self.port}{path}"
        return httpx.get(url, verify=context, headers=headers, trust_env=False)


@pytest.fixture
def serving(api_server: Target, kube: Kube, tmp_path: Path) -> Iterator[Serving]:
    if not isinstance(api_server, EmbeddedCluster):
        pytest.skip(f"the API server of a {api_server.kind} cluster does not reach this machine")
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "operator-load"},
            "spec": {"type": "ExternalName", "externalName": str(api_server.addresses.host)},
        }
    )
    environment = {
        "DSO_CUSTOM_METRICS_SERVICE": "operator-load",
        "DSO_CUSTOM_METRICS_PORT": str(port),
        "DSO_NAMESPACE": kube.namespace,
    }
    operator = OperatorProcess(api_server.kubeconfig, tmp_path / "operator.log", **environment)
    operator.start()
    pki = api_server.kubeconfig.parent / "pki"
    yield Serving(kube, operator, port, pki, f"https://{api_server.addresses.cluster}:6443")
    operator.kill()
    kubectl(api_server, "delete", "apiservice", NAME, "--ignore-not-found")


def test_the_api_server_serves_the_load_of_pods(serving: Serving, pod: None) -> None:
    eventually("the API", serving.answers)
    pods = f"{ROOT}/namespaces/{serving.kube.namespace}/pods"
    every = serving.raw(f"{pods}/*/deepseek_requests?labelSelector=deepseek-operator.io/name%3Dr1")
    (item,) = every["items"]
    assert item["describedObject"]["name"] == "r1-a"
    assert item["value"] == "7"
    (one,) = serving.raw(f"{pods}/r1-a/deepseek_kv_cache_percent")["items"]
    assert one["value"] == "50"
    with pytest.raises(ClusterError, match="r1-b"):
        serving.raw(f"{pods}/r1-b/deepseek_requests")
    with pytest.raises(ClusterError, match="expected: !, identifier"):
        serving.raw(f"{pods}/*/deepseek_requests?labelSelector=((")
    assert "pods/deepseek_requests" in {item["name"] for item in serving.raw(ROOT)["resources"]}
    eventually("the API server finds it available", serving.available)
    eventually("discovery lists it", serving.is_found)


def test_unauthenticated_and_unauthorized_requests_are_refused(serving: Serving, pod: None) -> None:
    eventually("the API", serving.answers)
    load = f"{ROOT}/namespaces/{serving.kube.namespace}/pods/*/deepseek_requests"
    admin = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}

    for headers in ({}, admin):
        anonymous = serving.directly(load, **headers)
        assert anonymous.status_code == 401
        assert anonymous.json()["reason"] == "Unauthorized"
    # Only the API server's certificate is accepted, not even the administrator's.
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        serving.directly(load, "admin", **admin)

    nobody = serving.directly(load, "front-proxy")
    assert nobody.status_code == 401
    jane = serving.directly(load, "front-proxy", **{"X-Remote-User": "jane"})
    assert jane.status_code == 403
    assert "jane" in jane.json()["message"]
    rule = {
        "apiGroups": ["custom.metrics.k8s.io"],
        "resources": ["pods/deepseek_requests"],
        "verbs": ["get"],
    }
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [rule]}
    serving.kube.apply({**role, "metadata": {"name": "read-load"}})
    serving.kube.run("create", "rolebinding", "read-load", "--role=read-load", "--user=joe")
    joe = serving.directly(load, "front-proxy", **{"X-Remote-User": "joe"})
    assert joe.status_code == 200
    allowed = serving.directly(load, "front-proxy", **admin)
    assert allowed.json()["items"][0]["value"] == "7"
    autoscaler = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    assert serving.directly(load, "front-proxy", **{"X-Remote-User": autoscaler}).is_success


def test_the_operator_yields_to_another_metrics_server_and_reports_it(serving: Serving) -> None:
    eventually("the API", serving.answers)
    kube = serving.kube
    kube.apply(resource("r1", scaling={"maxReplicas": 2}))
    eventually("a condition", lambda: kube.condition("r1", "Autoscaling"))
    other = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.custom.metrics.k8s.io"},
        "spec": {
            "group": "custom.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "monitoring", "name": "prometheus-adapter"},
        },
    }
    text = json.dumps(other)
    kubectl(kube.target, "create", "-f", "-", text=text)
    try:
        eventually("ours is gone", lambda: kube.get("apiservice", NAME) is None)
        reported = eventually(
            "the condition is False",
            lambda: (
                kube.condition("r1", "Autoscaling").get("status") == "False"
                and kube.condition("r1", "Autoscaling")
            ),
        )
        assert reported["reason"] == "MetricsApiTaken"
        assert "monitoring/prometheus-adapter" in reported["message"]
        assert "is served by monitoring/prometheus-adapter" in serving.operator.log
    finally:
        kubectl(kube.target, "delete", "-f", "-", text=text)
    eventually("ours is back", serving.answers)
    eventually("a reset", lambda: kube.condition("r1", "Autoscaling")["status"] == "Unknown")


@pytest.mark.parametrize("how", ["deleted", "broken"])
def test_a_lost_certificate_is_replaced(serving: Serving, how: str) -> None:
    eventually("the API", serving.answers)
    before = serving.kube.get("secret", "operator-load-tls")
    assert before is not None
    if how == "deleted":
        serving.kube.run("delete", "secret", "operator-load-tls")
    else:
        nonsense = json.dumps({"data": {"tls.crt": "bm9uc2Vuc2U="}})
        serving.kube.run("patch", "secret", "operator-load-tls", "--patch", nonsense)

    def renewed() -> bool:
        secret = serving.kube.get("secret", "operator-load-tls")
        certificate = secret["data"]["tls.crt"] if secret else ""
        return certificate not in ("", "bm9uc2Vuc2U=", before["data"]["tls.crt"])

    eventually("another certificate", renewed)
    service = serving.kube.get("apiservice", NAME)
    assert service is not None
    eventually("the API server trusts it", serving.available)
    eventually("the API", serving.answers)


def test_a_restart_keeps_certificate_and_registration(serving: Serving, audit_log: Path) -> None:
    eventually("the API", serving.answers)
    kept = serving.kube.get("secret", "operator-load-tls")
    service = serving.kube.get("apiservice", NAME)
    serving.operator.kill()
    serving.operator.start()
    eventually("the API", serving.answers)
    assert serving.kube.get("secret", "operator-load-tls") == kept
    after = serving.kube.get("apiservice", NAME)
    assert service is not None
    assert after is not None
    assert after["spec"] == service["spec"]
