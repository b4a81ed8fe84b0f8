"""The operator's own Prometheus metrics."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILE = Histogram(
    "deepseek_operator_reconcile_seconds",
    "Time of one reconciliation of one resource.",
    ["result"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ERRORS = Counter(
    "deepseek_operator_reconcile_errors_total",
    "Reconciliations that did not come to their end, by what kept them from it.",
    ["reason"],
)
WRITES = Counter("deepseek_operator_writes_total", "Writes to the API server.", ["kind", "result"])
QUEUE_DEPTH = Gauge("deepseek_operator_queue_depth", "Resources that wait for a worker.")
QUEUE_AGE = Gauge(
    "deepseek_operator_queue_age_seconds", "Time that the oldest waiting resource has waited."
)
RESOURCES = Gauge("deepseek_operator_resources", "DeepSeekDeployments that are known.")
LEADER = Gauge("deepseek_operator_leader", "1 where this process leads, 0 where it stands by.")
WATCH_RESTARTS = Counter(
    "deepseek_operator_watch_restarts_total",
    "Watch streams that were opened anew, by why; missed: a stream that lived, but lost events.",
    ["kind", "reason"],
)
WATCH_SILENCE = Gauge(
    "deepseek_operator_watch_silence_seconds",
    "Time since the stream of a kind gave a sign of life; bookmarks come about every minute.",
    ["kind"],
)
