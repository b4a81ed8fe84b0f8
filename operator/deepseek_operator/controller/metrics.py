"""The operator's own Prometheus metrics."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILE = Histogram(
    "deepseek_operator_reconcile_seconds",
    "Time of one reconciliation of one resource.",
    ["result"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
WRITES = Counter("deepseek_operator_writes_total", "Writes to the API server.", ["kind", "result"])
QUEUE_DEPTH = Gauge("deepseek_operator_queue_depth", "Resources that wait for a worker.")
QUEUE_AGE = Gauge(
    "deepseek_operator_queue_age_seconds", "Time that the oldest waiting resource has waited."
)
RESOURCES = Gauge("deepseek_operator_resources", "DeepSeekDeployments that are known.")
