"""The running operator: leader election, watches, work queue, reconcile loop, health, metrics."""
