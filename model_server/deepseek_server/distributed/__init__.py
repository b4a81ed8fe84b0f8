"""One model on several devices, by a process for each."""
