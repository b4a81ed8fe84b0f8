"""Defaults of the chart, and where each value is rendered."""

import pytest
import yaml

from tests.support.repository import ROOT

CRD = ROOT / "crds/deepseekdeployments.deepseek-operator.io.yaml"
DIGEST = "sha256:" + "0123456789abcdef" * 4


def test_helm_lint_passes(helm, request):
    chart = str(CRD.parents[1] / "charts/deepseek-operator")
    values = {"image": {"repository": "a"}, "modelServer": {"image": {"repository": "b"}}}
    result = helm("lint", chart, "--strict", values=values)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_default_pod_is_locked_down(render):
    rendered = render()
    assert rendered.kinds() == {
        "CustomResourceDefinition",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Service",
        "Deployment",
        "PodDisruptionBudget",
    }
    deployment = rendered.one("Deployment")
    assert deployment["metadata"]["namespace"] == "deepseek-system"
    assert deployment["spec"]["replicas"] == 2
    pod = rendered.pod
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert pod["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert rendered.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert rendered.container["ports"] == [
        {"name": "http", "containerPort": 8080},
        {"name": "custom-metrics", "containerPort": 8443},
    ]
    probes = {
        name: rendered.container[f"{name}Probe"] for name in ("startup", "liveness", "readiness")
    }
    assert {name: probe["httpGet"] for name, probe in probes.items()} == {
        "startup": {"path": "/healthz", "port": "http"},
        "liveness": {"path": "/healthz", "port": "http"},
        "readiness": {"path": "/readyz", "port": "http"},
    }
    assert rendered.container["image"] == "registry.test/deepseek-operator:0.1.0"
    assert "imagePullPolicy" not in rendered.container
    assert rendered.environment == {
        "DSO_SERVER_IMAGE": "registry.test/deepseek-server:0.1.0",
        "DSO_SERVER_PULL_POLICY": "",
        "DSO_HUB_ENDPOINT": "",
        "DSO_NAMESPACE": "deepseek-system",
        "DSO_MONITORING_NAMESPACE": "monitoring",
        "DSO_ISTIO_NAMESPACE": "istio-system",
        "DSO_POD_MONITOR_LABELS": "",
        "DSO_LOG_LEVEL": "info",
        "DSO_LOG_FORMAT": "plain",
        "DSO_HTTP_PORT": "8080",
        "DSO_CUSTOM_METRICS_SERVICE": "deepseek-operator-load",
        "DSO_CUSTOM_METRICS_PORT": "8443",
        "DSO_CLUSTER_ROLE": "deepseek-operator-load",
    }


def test_the_crd_is_the_generated_one_and_is_kept_on_uninstall(render):
    crd = render().one("CustomResourceDefinition", CRD.stem)
    assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert crd == yaml.safe_load(CRD.read_text())


def test_the_crd_can_be_deleted_on_uninstall(render):
    crd = render({"crds": {"keep": False}}).one("CustomResourceDefinition", CRD.stem)
    assert crd == yaml.safe_load(CRD.read_text())


def test_the_crd_can_be_left_out(render):
    assert "CustomResourceDefinition" not in render({"crds": {"enabled": False}}).kinds()


def test_tag_digest_and_pull_policy_of_the_images(render):
    rendered = render(
        {
            "image": {"tag": "v2", "pullPolicy": "Always"},
            "modelServer": {"image": {"digest": DIGEST, "tag": "unused", "pullPolicy": "Never"}},
        }
    )
    assert rendered.container["image"] == "registry.test/deepseek-operator:v2"
    assert rendered.container["imagePullPolicy"] == "Always"
    assert rendered.environment["DSO_SERVER_IMAGE"] == f"registry.test/deepseek-server@{DIGEST}"
    assert rendered.environment["DSO_SERVER_PULL_POLICY"] == "Never"


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"imagePullSecrets": [{"name": "s"}]}, "imagePullSecrets"),
        ({"nodeSelector": {"disk": "ssd"}}, "nodeSelector"),
        ({"tolerations": [{"key": "k", "operator": "Exists"}]}, "tolerations"),
        ({"affinity": {"nodeAffinity": {}}}, "affinity"),
        ({"priorityClassName": "high"}, "priorityClassName"),
    ],
)
def test_pod_settings(render, value, place):
    assert render(value).pod["spec"][place] == value[place]


def test_pod_metadata(render):
    labels = {"team": "a", "app.kubernetes.io/name": "never overrides the selector"}
    rendered = render({"podLabels": labels, "podAnnotations": {"note": "1"}})
    metadata = rendered.pod["metadata"]
    assert metadata["annotations"] == {"note": "1"}
    assert metadata["labels"]["team"] == "a"
    selector = rendered.one("Deployment")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= metadata["labels"].items()


def test_resources(render):
    resources = {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    assert render({"resources": resources}).container["resources"] == resources


def test_hub_and_log(render):
    environment = render(
        {"hub": {"endpoint": "http://hub.test:8080"}, "log": {"level": "debug", "format": "json"}}
    ).environment
    assert environment["DSO_HUB_ENDPOINT"] == "http://hub.test:8080"
    assert environment["DSO_LOG_LEVEL"] == "debug"
    assert environment["DSO_LOG_FORMAT"] == "json"


def test_monitoring(render):
    values = {"namespace": "prom", "podMonitorLabels": {"release": "stack", "team": "ml"}}
    environment = render({"monitoring": values}).environment
    assert environment["DSO_MONITORING_NAMESPACE"] == "prom"
    assert environment["DSO_POD_MONITOR_LABELS"] == "release=stack,team=ml"


def test_service_account(render):
    rendered = render({"serviceAccount": {"name": "sa", "annotations": {"role": "arn"}}})
    account = rendered.one("ServiceAccount", "sa")
    assert account["metadata"]["annotations"] == {"role": "arn"}
    assert rendered.pod["spec"]["serviceAccountName"] == "sa"
    assert rendered.one("ClusterRoleBinding")["subjects"][0]["name"] == "sa"


def test_an_existing_service_account_can_be_used(render):
    rendered = render({"serviceAccount": {"create": False, "name": "theirs"}})
    assert "ServiceAccount" not in rendered.kinds()
    assert rendered.pod["spec"]["serviceAccountName"] == "theirs"


def test_another_release_name_prefixes_the_objects(render):
    rendered = render(release="ai")
    assert rendered.one("Deployment", "ai-deepseek-operator")
    assert rendered.one("ClusterRoleBinding", "ai-deepseek-operator")["roleRef"]["name"] == (
        "ai-deepseek-operator"
    )


def test_the_custom_metrics_service_selects_the_operator(render):
    rendered = render()
    service = rendered.one("Service", "deepseek-operator-load")["spec"]
    assert service["selector"].items() <= rendered.pod["metadata"]["labels"].items()
    (port,) = service["ports"]
    assert port["targetPort"] in {item["name"] for item in rendered.container["ports"]}
    assert str(port["port"]) == rendered.environment["DSO_CUSTOM_METRICS_PORT"]


def test_custom_metrics_can_be_disabled(render):
    rendered = render({"customMetrics": {"enabled": False}})
    names = {item["metadata"]["name"] for item in rendered.manifests}
    assert "deepseek-operator-load" not in names
    assert "DSO_CUSTOM_METRICS_SERVICE" not in rendered.environment
    assert rendered.container["ports"] == [{"name": "http", "containerPort": 8080}]


def test_without_rbac_the_api_service_gets_no_owner(render):
    environment = render({"rbac": {"create": False}}).environment
    assert "DSO_CLUSTER_ROLE" not in environment
    assert environment["DSO_CUSTOM_METRICS_SERVICE"] == "deepseek-operator-load"


def test_replicas_get_their_names_and_prefer_different_nodes(render):
    rendered = render({"replicas": 3})
    assert rendered.one("Deployment")["spec"]["replicas"] == 3
    fields = {
        entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"]
        for entry in rendered.container["env"]
        if "valueFrom" in entry
    }
    assert fields == {"DSO_POD_NAME": "metadata.name"}
    (term,) = rendered.pod["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    selector = rendered.one("Deployment")["spec"]["selector"]
    assert term["podAffinityTerm"]["labelSelector"] == selector
    budget = rendered.one("PodDisruptionBudget")["spec"]
    assert budget == {"maxUnavailable": 1, "selector": selector}


def test_a_single_replica_has_no_disruption_budget(render):
    assert "PodDisruptionBudget" not in render({"replicas": 1}).kinds()
