"""Replacements for the forwards of transformers' attention modules."""
