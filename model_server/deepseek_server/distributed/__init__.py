"""One model on several devices, with one process for each."""
