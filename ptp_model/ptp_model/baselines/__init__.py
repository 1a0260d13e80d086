"""Codecs of others, trained and judged as ours is."""
