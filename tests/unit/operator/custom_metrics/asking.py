"""Front proxy configuration and metrics for tests of the custom metrics API."""

from typing import Any

from deepseek_operator.custom_metrics.front_proxy import FrontProxy

CONFIG_MAP = {
    "data": {
        "requestheader-client-ca-file": "PEM",
        "requestheader-allowed-names": '["front-proxy"]',
        "requestheader-username-headers": '["X-Remote-User"]',
        "requestheader-uid-headers": '["X-Remote-Uid"]',
        "requestheader-group-headers": '["X-Remote-Group"]',
        "requestheader-extra-headers-prefix": '["X-Remote-Extra-"]',
    }
}
METRICS = """
# HELP deepseek_server_num_requests_running Requests that are answered.
# TYPE deepseek_server_num_requests_running gauge
deepseek_server_num_requests_running{model_name="r1 {a,b}"} 3.0
# TYPE deepseek_server_num_requests_waiting gauge
deepseek_server_num_requests_waiting{model_name="r1 {a,b}"} 2.0
deepseek_server_num_requests_waiting_ever{model_name="r1"} 1000.0
# TYPE deepseek_server_kv_cache_usage_perc gauge
deepseek_server_kv_cache_usage_perc{model_name="r1"} 0.125
deepseek_server_step_seconds_bucket{le="0.1"} 99.0
"""


def peer(name: str) -> dict[str, Any]:
    return {"subject": ((("organizationName", "o"),), (("commonName", name),))}


def front_proxy() -> FrontProxy:
    found = FrontProxy.of(CONFIG_MAP)
    assert found is not None
    return found
