"""Bundles of several tasks: one set of codec graphs whose prompts are inputs, and a small file for each prompt."""
