"""Checkpoints that were trained elsewhere: state dicts in, the parts of a checkpoint of ours out.

* ``sources.py``: a file → tensors by name; nothing is unpickled
* ``names.py``: the table of names: what others call our parts
* ``matching.py``: names and shapes against what a spec needs: matched, renamed, missing, left over
* ``assembly.py``: codec, prompts and heads of a spec, filled with what matched
* ``statistics.py``: mean and standard deviation of the feature, where the source has none
"""

from __future__ import annotations
