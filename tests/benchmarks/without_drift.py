"""A worker that looks for no drift: what that costs is the difference."""

from __future__ import annotations

import os


def main() -> None:
    """Run it until SIGTERM."""
    os.environ["WEIR_BENCH_DRIFT"] = "off"  # before the task is loaded
    from streams.app import main as worker

    worker()


if __name__ == "__main__":
    main()
