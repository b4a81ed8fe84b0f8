"""Processes, namespaces, network and files of the embedded cluster on this machine."""
