"""The operator's own Prometheus metrics."""

from prometheus_client import Counter, Gauge, Histogram

RECONCILE = Histogram(
    "deepseek_operator_reconcile_seconds",
    "Duration of one reconciliation of one resource.",
    ["result"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
ERRORS = Counter(
    "deepseek_operator_reconcile_errors_total",
    "Failed reconciliations, by reason.",
    ["reason"],
)
WRITES = Counter("deepseek_operator_writes_total", "Writes to the API server.", ["kind", "result"])
QUEUE_DEPTH = Gauge("deepseek_operator_queue_depth", "Resources waiting for a worker.")
QUEUE_AGE = Gauge(
    "deepseek_operator_queue_age_seconds", "Time that the oldest queued resource has waited."
)
RESOURCES = Gauge("deepseek_operator_resources", "Known DeepSeekDeployments.")
LEADER = Gauge("deepseek_operator_leader", "1 if this process is the leader, 0 if it stands by.")
WATCH_RESTARTS = Counter(
    "deepseek_operator_watch_restarts_total",
    "Watch restarts, by reason; missed: the stream was open but lost events.",
    ["kind", "reason"],
)
WATCH_SILENCE = Gauge(
    "deepseek_operator_watch_silence_seconds",
    "Time since the last sign of life of a watch stream; bookmarks arrive about every minute.",
    ["kind"],
)
