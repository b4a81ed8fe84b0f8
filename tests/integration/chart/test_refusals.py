"""Invalid values are refused before an installation, with the value and what to write instead."""

import pytest


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicas": 0}, "replicas"),
        ({"replica": 2}, "replica"),
        ({"image": {"repo": "x"}}, "repo"),
        ({"image": {"tag": "no spaces"}}, "image.tag"),
        ({"image": {"digest": "sha256:1"}}, "image.digest"),
        ({"modelServer": {"image": {"pullPolicy": "Sometimes"}}}, "pullPolicy"),
        ({"modelServer": {"tag": "x"}}, "tag"),
        ({"hub": {"endpoint": "hub.test"}}, "hub.endpoint"),
        ({"monitoring": {"namespace": "Not A Name"}}, "monitoring.namespace"),
        ({"monitoring": {"podMonitorLabels": {"a": "b,c=d"}}}, "podMonitorLabels"),
        ({"log": {"level": "loud"}}, "log.level"),
        ({"customMetrics": {"enabled": "yes"}}, "customMetrics.enabled"),
        ({"imagePullSecrets": ["name"]}, "imagePullSecrets"),
        ({"nodeSelector": {"disk": 1}}, "nodeSelector"),
        ({"podLabels": {"on": True}}, "podLabels"),
        ({"crds": {"enabled": "yes"}}, "crds.enabled"),
    ],
)
def test_the_schema_names_the_invalid_value(template, values, words):
    result = template(values)
    assert result.returncode != 0
    assert "don't meet the specifications of the schema" in result.stderr
    assert words in result.stderr.replace("/", ".")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"modelServer": {"image": {"repository": "r/s"}}}, "image.repository is empty"),
        ({"image": {"repository": "r/o"}}, "modelServer.image.repository is empty"),
    ],
)
def test_a_missing_image_repository_is_refused(template, values, sentence):
    result = template(values, images=False)
    assert result.returncode != 0
    assert sentence in result.stderr
    assert "make images" in result.stderr


def test_a_missing_service_account_is_refused(template):
    result = template({"serviceAccount": {"create": False}})
    assert result.returncode != 0
    assert "serviceAccount.name is empty" in result.stderr
