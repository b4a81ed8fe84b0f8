"""`deepseek local`: a resource on this machine, without a cluster."""
