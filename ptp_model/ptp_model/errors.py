"""Errors of the model package.

    ModelError
    ├── SpecError          a specification that no model can be built from
    ├── CheckpointError    a checkpoint that does not fit, is incomplete or was altered
    ├── PickledObjectsError  a file that only unpickling could read
    ├── WeightsError       a teacher's weights that are missing, altered or of another network
    ├── MissingLibraryError  an optional library that is not installed
    └── NotSavedError      a file that cannot be written; what was there before is unharmed

``ptp_export`` turns them into :class:`ptp_runtime.errors.CheckpointError`; this package knows no other of ours.
"""

from __future__ import annotations


class ModelError(ValueError):
    """Root: one sentence with what was expected, what came and what to do."""


class SpecError(ModelError):
    """A specification that no model can be built from."""


class CheckpointError(ModelError):
    """A checkpoint that does not fit the specification, is incomplete or was altered."""


class PickledObjectsError(ModelError):
    """A file that holds more than data: only unpickling, which can run any code, could read it."""


class WeightsError(ModelError):
    """A teacher's weights that are missing, altered or of another network."""


class MissingLibraryError(ModelError):
    """An optional library that is not installed; the sentence names the extra."""


class NotSavedError(ModelError):
    """A file that cannot be written (a full disk, no permission); what was there before is unharmed."""
