"""``python -m ptp_runtime`` is the command ``ptp``."""

import sys

from ptp_runtime.cli import main

sys.exit(main())
