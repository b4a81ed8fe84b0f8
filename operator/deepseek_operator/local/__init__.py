"""The same resource as processes of one machine, without a cluster.

What is started, and what is refused, is decided by the same planner as in a cluster.
"""
