"""Rollouts with a second set of pods: canary and blue-green."""
