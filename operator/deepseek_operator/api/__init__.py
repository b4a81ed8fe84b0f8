"""Types of the custom resource: one file per spec section, its status, and the generated CRD."""
