"""`deepseek status`: how resources in a cluster are, in the operator's words."""
