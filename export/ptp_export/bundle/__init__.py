"""What the stages made, as a directory that a runtime opens: the manifest, the tables, the files."""
