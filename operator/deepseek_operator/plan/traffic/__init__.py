"""Routes, network policies and authorization: who reaches a model, and how."""
