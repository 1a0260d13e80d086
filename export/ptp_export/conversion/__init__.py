"""Graphs in the precision that was asked for: measured on photos, converted, and weighed by bits and task."""
