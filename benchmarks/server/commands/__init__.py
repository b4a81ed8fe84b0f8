"""The commands: their flags, and what they print.

Results go to standard output as JSON, progress to standard error.
"""
