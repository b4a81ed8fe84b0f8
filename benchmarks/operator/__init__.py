"""Benchmarks of the operator: `python -m benchmarks.operator`, the rows of docs/performance.md.

Everything runs against a real API server on this machine, with which it shares the cores. A bare
client that writes the same objects shows the API server's share of a figure; the CPU time of both
is reported beside it.
"""
