"""Serving a resource as processes of one machine, without a cluster.

The same planner as in a cluster decides what to start and what to reject.
"""
