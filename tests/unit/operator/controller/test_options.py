"""What the chart's variables become."""

import pytest

from deepseek_operator.controller.main import Options, StartError


@pytest.fixture(autouse=True)
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSO_SERVER_IMAGE", "server:1")


def test_where_the_operator_and_monitoring_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSO_NAMESPACE", "deepseek-system")
    monkeypatch.setenv("DSO_MONITORING_NAMESPACE", "monitoring")
    monkeypatch.setenv("DSO_POD_MONITOR_LABELS", "release=stack,team=")
    settings = Options.from_environment().settings
    assert (settings.namespace, settings.monitoring_namespace) == ("deepseek-system", "monitoring")
    assert settings.pod_monitor_labels == {"release": "stack", "team": ""}


def test_outside_a_cluster_there_is_neither() -> None:
    settings = Options.from_environment().settings
    assert (settings.namespace, settings.monitoring_namespace) == ("", "")
    assert settings.pod_monitor_labels == {}


@pytest.mark.parametrize("text", ["release", "=stack", "a=b,c"])
def test_labels_that_are_none_are_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DSO_POD_MONITOR_LABELS", text)
    with pytest.raises(StartError, match="DSO_POD_MONITOR_LABELS"):
        Options.from_environment()
