"""The operator: watches DeepSeekDeployment resources and keeps their children as planned."""
