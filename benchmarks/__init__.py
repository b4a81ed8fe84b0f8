"""Benchmarks of the model server and of the operator; not part of the wheel."""
