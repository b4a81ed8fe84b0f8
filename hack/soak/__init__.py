"""Soak test of a real server with all kinds of clients, for any duration: `python -m hack.soak`.

The KV cache is small, so that requests preempt each other. Checks: every answer with a known result
is correct, every other answer has the requested form; there is no 5xx; at the end no request runs,
waits or holds cache blocks; no process was added and no process grew.
"""
