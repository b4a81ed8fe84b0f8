"""The ClusterRole grants exactly what the operator needs: a new verb needs a change here too."""

OWN = "deepseek-operator.io"
APPLY = {"get", "list", "watch", "create", "patch"}
READ = {"get", "list", "watch"}
TAKE_BACK = APPLY | {"delete"}
ALLOWED = {
    (OWN, "deepseekdeployments"): READ,
    (OWN, "deepseekdeployments/status"): {"get", "patch"},
    (OWN, "deepseekdeployments/finalizers"): {"update"},
    ("apps", "deployments"): TAKE_BACK,
    ("apps", "controllerrevisions"): TAKE_BACK,
    ("leaderworkerset.x-k8s.io", "leaderworkersets"): TAKE_BACK,
    ("autoscaling", "horizontalpodautoscalers"): {*APPLY, "delete"},
    ("keda.sh", "scaledobjects"): {*APPLY, "delete"},
    ("", "services"): TAKE_BACK,
    ("", "serviceaccounts"): APPLY,
    ("", "configmaps"): TAKE_BACK,
    ("policy", "poddisruptionbudgets"): TAKE_BACK,
    ("networking.k8s.io", "networkpolicies"): TAKE_BACK,
    ("monitoring.coreos.com", "podmonitors"): TAKE_BACK,
    ("networking.istio.io", "virtualservices"): TAKE_BACK,
    ("networking.istio.io", "destinationrules"): TAKE_BACK,
    ("networking.istio.io", "gateways"): TAKE_BACK,
    ("security.istio.io", "peerauthentications"): TAKE_BACK,
    ("security.istio.io", "requestauthentications"): TAKE_BACK,
    ("security.istio.io", "authorizationpolicies"): TAKE_BACK,
    ("gateway.networking.k8s.io", "httproutes"): TAKE_BACK,
    ("gateway.networking.k8s.io", "gateways"): TAKE_BACK,
    ("cert-manager.io", "certificates"): TAKE_BACK,
    ("", "pods"): READ,
    ("", "nodes"): READ,
    ("", "events"): {"list", "watch", "create", "patch"},
}


def permissions(role):
    """Return the verbs by (group, resource)."""
    granted = {}
    for rule in role["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                granted.setdefault((group, resource), set()).update(rule["verbs"])
    return granted


def test_the_operator_has_exactly_the_allowed_permissions(render):
    rendered = render()
    assert permissions(rendered.one("ClusterRole")) == ALLOWED
    binding = rendered.one("ClusterRoleBinding")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "deepseek-operator",
    }
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "deepseek-operator", "namespace": "deepseek-system"}
    ]


def test_the_custom_metrics_api_has_exactly_its_permissions(render):
    rendered = render()
    name = "deepseek-operator-load"
    assert rendered.one("ClusterRole", name)["rules"] == [
        {"apiGroups": ["apiregistration.k8s.io"], "resources": ["apiservices"], "verbs": ["list"]},
        {
            "apiGroups": ["apiregistration.k8s.io"],
            "resources": ["apiservices"],
            "resourceNames": ["v1beta2.custom.metrics.k8s.io"],
            "verbs": ["get", "create", "patch", "delete"],
        },
        {
            "apiGroups": ["rbac.authorization.k8s.io"],
            "resources": ["clusterroles"],
            "resourceNames": [name],
            "verbs": ["get"],
        },
        {
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["subjectaccessreviews"],
            "verbs": ["create"],
        },
    ]
    role = rendered.one("Role", name)
    assert role["metadata"]["namespace"] == "deepseek-system"
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": [f"{name}-tls"],
            "verbs": ["get", "update"],
        },
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
    ]
    bindings = {
        item["metadata"]["namespace"]: item["roleRef"]["name"]
        for item in rendered.manifests
        if item["kind"] == "RoleBinding" and item["metadata"]["name"] == name
    }
    assert bindings == {
        "deepseek-system": name,
        "kube-system": "extension-apiserver-authentication-reader",
    }


def test_the_operator_may_write_only_its_own_lease(render):
    rendered = render()
    role = rendered.one("Role")
    assert role["metadata"]["namespace"] == "deepseek-system"
    create, name = role["rules"]
    assert (create["resources"], create["verbs"]) == (["leases"], ["create"])
    assert name == {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": ["deepseek-operator"],
        "verbs": ["get", "update"],
    }
    assert rendered.one("RoleBinding")["roleRef"]["name"] == role["metadata"]["name"]


def test_user_permissions_are_aggregated_to_the_built_in_roles(render):
    rendered = render()
    view = rendered.one("ClusterRole", "deepseek-operator-view")
    edit = rendered.one("ClusterRole", "deepseek-operator-edit")
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert all(verbs == READ for verbs in permissions(view).values())
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert "delete" in permissions(edit)[OWN, "deepseekdeployments"]
    assert {group for group, _ in permissions(edit)} == {OWN}


def test_rbac_can_be_disabled(render):
    kinds = render({"rbac": {"create": False}}).kinds()
    assert not kinds & {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
