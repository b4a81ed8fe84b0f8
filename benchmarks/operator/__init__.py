"""Speed and cost of the operator: `python -m benchmarks.operator`, the rows of docs/performance.md.

Everything runs against a real API server on this machine, which has to share its cores; where a
figure is the API server's and not ours, a bare client that writes the same objects tells, and the
CPU time of both stands beside it.
"""
