"""`deepseek doctor`: what keeps a cluster or a machine from serving models, and what to do about it.

Facts are gathered first (`look.py`, `machine_look.py`); every check is a small function of them.
"""
