"""Photographs to train on, taken from Debian packages.

A learned codec needs real photographs, and a data set should be as reproducible as a dependency. Debian's archive
carries a few hundred freely licensed photographs inside packages (wallpapers, an educational suite, a computer-vision
manual), each package pinned here by version and SHA-256, each photograph by name and SHA-256. Drawings, screenshots,
icons, diagrams and near duplicates were left out by eye: ``selection.json`` is an explicit list.

    python -m ptp_model.training.photos --output DIR

writes the photographs, at most 1024 pixels on the long side, and an ``index.json`` with their split, hash and source.
The photographs are not shipped with this package; their licences are in each Debian package's ``copyright`` file.
"""
