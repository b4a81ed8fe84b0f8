"""The operator at run time: kopf's watch streams, a work queue, the reconcile loop, health, metrics."""
