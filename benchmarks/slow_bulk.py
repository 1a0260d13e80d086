"""A run of ``ptp bulk`` on the pocket model, slow enough to be killed in the middle. Prints a line for each shard.

    python benchmarks/slow_bulk.py BUNDLE SOURCE DEST FORMAT

What ``faults_service.py`` kills by the hundred, and the integration tests twice.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from ptp_runtime.selftest import PocketBackend
from ptp_runtime.service.bulk.plan import Choices
from ptp_runtime.service.bulk.run import run_bulk

SECONDS = 0.05
"""Of each photo, beyond what it takes."""

SHARD = 2


class SlowBackend(PocketBackend):
    """The pocket backend, whose analysis takes its time."""

    def load(self, bundle: Any, graph: Any) -> Any:
        """See :class:`~ptp_runtime.backends.Backend`."""
        loaded: Any = super().load(bundle, graph)
        if graph.role == "analysis":
            run = loaded.run

            def slow(inputs: Any) -> Any:
                time.sleep(SECONDS)
                return run(inputs)

            loaded.run = slow
        return loaded


def main() -> None:
    """Run it, with two workers."""
    bundle, source, output, layout = sys.argv[1:]

    def told(done: int, failed: int) -> None:
        print("shard", flush=True)

    choices = Choices("infer", "seg", None, False, layout, SHARD)
    session = {"backend": SlowBackend()}
    run_bulk(bundle, [source], output, choices, workers=2, session=session, began=lambda photos, before: told)


if __name__ == "__main__":
    main()
