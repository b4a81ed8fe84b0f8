"""The custom resource: one file per spec section, its status, and the CRD made from both."""
