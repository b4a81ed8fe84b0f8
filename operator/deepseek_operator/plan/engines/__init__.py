"""How each engine is told what it shall serve: one module for each, one interface for all."""
