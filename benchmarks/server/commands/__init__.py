"""The commands: their flags and output.

Results go to standard output as JSON, progress to standard error.
"""
