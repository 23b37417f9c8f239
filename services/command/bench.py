"""``weir bench``: Weir measured against other ways, in one run on this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from services.command.context import JsonOption
from services.command.output import CommandError

ROOT = Path(__file__).parents[2]


def bench(
    json: JsonOption = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A fifth of the load, for a first look.")
    ] = False,
    only: Annotated[
        str, typer.Option(metavar="NAME,…", help="Measure these systems only.", show_default=False)
    ] = "",
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep",
            help="Instead: what a request costs by features, batch size, model, partitions and "
            "versions in service; when gate and cache pay.",
        ),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Renew the figures and the plot of this page."),
    ] = None,
) -> None:
    """Measure Weir against Faust, Quix Streams, Bytewax and a bare loop, on one fresh broker.

    Needs a checkout: the peers and their environment are in tests/benchmarks (`make bench`).
    The last line printed is one JSON object.
    """
    if not (ROOT / "tests" / "benchmarks" / "bench.py").exists():
        raise CommandError("the benchmark is in Weir's source tree; run it in a checkout", code=2)
    if sweep and (quick or only):
        raise CommandError("--sweep goes with --json and --report only", code=2)
    arguments = [sys.executable, "-m", f"tests.benchmarks.{'sweep' if sweep else 'bench'}"]
    arguments += ["--json"] * json + ["--quick"] * quick
    arguments += ["--only", only] if only else []
    arguments += ["--report", str(report.resolve())] if report else []
    # A process of its own: the load generator shares its interpreter with nobody.
    code = subprocess.run(arguments, cwd=ROOT, check=False).returncode
    if code:
        raise typer.Exit(code)
