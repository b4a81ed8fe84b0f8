"""All I/O to Kubernetes: a client for server-side apply, and a cache of watched objects."""
