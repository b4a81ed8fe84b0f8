"""Tests of the custom metrics API's certificate and APIService."""

import datetime
from typing import Any

import pytest
from cryptography import x509

from deepseek_operator.custom_metrics import certificate, registration
from deepseek_operator.custom_metrics.api import GROUP
from deepseek_operator.custom_metrics.serving import Place

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
PLACE = Place("deepseek-system", "operator-metrics", 8443, "operator")


def test_a_certificate_is_valid_until_a_third_of_its_life_is_left() -> None:
    made = certificate.make(PLACE.host, NOW)
    assert made.serves(PLACE.host, NOW)
    assert made.serves(PLACE.host, NOW + datetime.timedelta(days=59))
    assert not made.serves(PLACE.host, NOW + datetime.timedelta(days=60, minutes=1))
    assert not made.serves("other.deepseek-system.svc", NOW)
    assert made.issued() == NOW


def test_a_renewed_certificate_trusts_the_previous_authority_but_none_older() -> None:
    first = certificate.make(PLACE.host, NOW)
    second = certificate.make(PLACE.host, NOW, first)
    third = certificate.make(PLACE.host, NOW, second)
    trusted = x509.load_pem_x509_certificates(third.authorities)
    assert len(trusted) == 2

    assert third.follows(second)
    assert not third.follows(first)
    numbers = [authority.serial_number for authority in trusted]
    newest = [x509.load_pem_x509_certificates(m.authorities)[0] for m in (third, second, first)]
    assert numbers == [newest[0].serial_number, newest[1].serial_number]
    for made, authority in ((third, trusted[0]), (second, trusted[1])):
        x509.load_pem_x509_certificate(made.chain).verify_directly_issued_by(authority)


@pytest.mark.parametrize("part", ["authorities", "chain", "key"])
def test_a_broken_secret_is_renewed(part: str) -> None:
    made = certificate.make(PLACE.host, NOW)
    broken = certificate.Certificate(**{**vars(made), part: b"nonsense"})
    assert not broken.serves(PLACE.host, NOW)
    assert certificate.make(PLACE.host, NOW, broken).serves(PLACE.host, NOW)


def test_a_key_of_another_certificate_is_renewed() -> None:
    one, two = certificate.make(PLACE.host, NOW), certificate.make(PLACE.host, NOW)
    mixed = certificate.Certificate(one.authorities, one.chain, two.key)
    assert not mixed.serves(PLACE.host, NOW)


def service(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": "a"}, "spec": {"group": GROUP, **spec}}


def test_another_api_service_of_the_group_owns_it() -> None:
    made = certificate.make(PLACE.host, NOW)
    ours = registration.manifest(PLACE, made, None)
    theirs = service("v1beta1", service={"namespace": "monitoring", "name": "adapter"})
    assert registration.owner([ours], PLACE) == ""
    assert registration.owner([ours, theirs], PLACE) == "monitoring/adapter"
    assert registration.owner([service("local")], PLACE) == "APIService local"


def test_the_api_service_is_owned_by_the_cluster_role() -> None:
    made = certificate.make(PLACE.host, NOW)
    role = {"metadata": {"name": "operator", "uid": "r-1"}}
    wanted = registration.manifest(PLACE, made, role)
    (owner,) = wanted["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("ClusterRole", "r-1")
    assert wanted["spec"]["service"] == {
        "namespace": "deepseek-system",
        "name": "operator-metrics",
        "port": 8443,
    }
    assert not registration.differs(wanted, wanted)
    assert registration.differs(wanted, registration.manifest(PLACE, made, None))
    renewed = certificate.make(PLACE.host, NOW, made)
    assert registration.differs(registration.manifest(PLACE, renewed, role), wanted)
