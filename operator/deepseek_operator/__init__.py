"""Kubernetes operator that reconciles DeepSeekDeployment resources."""
