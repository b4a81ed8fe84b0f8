"""`deepseek status`: status and Events of resources in a cluster."""
