"""The operator's options from the environment variables of the chart."""

import pytest

from deepseek_operator.controller.main import Options, StartError


@pytest.fixture(autouse=True)
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSO_SERVER_IMAGE", "server:1")


def test_namespaces_and_labels_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSO_NAMESPACE", "deepseek-system")
    monkeypatch.setenv("DSO_MONITORING_NAMESPACE", "monitoring")
    monkeypatch.setenv("DSO_POD_MONITOR_LABELS", "release=stack,team=")
    settings = Options.from_environment().settings
    assert (settings.namespace, settings.monitoring_namespace) == ("deepseek-system", "monitoring")
    assert settings.pod_monitor_labels == {"release": "stack", "team": ""}


def test_outside_a_cluster_namespaces_are_empty() -> None:
    settings = Options.from_environment().settings
    assert (settings.namespace, settings.monitoring_namespace) == ("", "")
    assert settings.pod_monitor_labels == {}


@pytest.mark.parametrize("text", ["release", "=stack", "a=b,c"])
def test_invalid_labels_are_refused_with_the_name_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("DSO_POD_MONITOR_LABELS", text)
    with pytest.raises(StartError, match="DSO_POD_MONITOR_LABELS"):
        Options.from_environment()
