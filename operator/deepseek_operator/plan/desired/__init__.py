"""The desired state: a spec with every default made explicit, or the refusal of one."""
