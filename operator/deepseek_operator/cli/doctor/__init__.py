"""`deepseek doctor`: problems that keep a cluster or a machine from serving models, with fixes.

Facts are gathered first (`look.py`, `machine_look.py`); every check is a small function of them.
"""
