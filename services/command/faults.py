"""``weir faults``: the promises, tried on the real system while its processes are killed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from services.command.output import CommandError, err, note, print_json

TASK = "services.faults.task:Probe"
DISK_MB_LEAST, DISK_MB_A_MILLION = 1024, 2048


def faults(
    kills: Annotated[int, typer.Option(min=0, help="Faults, of all kinds in turn.")] = 11,
    swaps: Annotated[
        int,
        typer.Option(
            min=0, help="Swap model versions so often, and do nothing else; 0: faults instead."
        ),
    ] = 0,
    requests: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Requests under which they happen.",
            show_default="22,000; a second of them a swap",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same plan and load each time.")] = 0,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second, at most.")] = 1000,
    only: Annotated[
        str, typer.Option(help="Kinds of faults, with commas between them.", show_default="all")
    ] = "",
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Longest time of a fault that is ours to end.")
    ] = 8.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, as stdout's last line.")
    ] = False,
    home: Annotated[
        Path | None,
        typer.Option(help="An empty folder for the system; kept afterwards.", show_default=False),
    ] = None,
) -> None:
    """Kill Weir's processes, or swap its models, under load; count what was lost or wrong.

    Starts a system of its own in a temporary folder; it is removed when every promise was kept.
    """
    from services.faults.harness import Run, kept
    from services.faults.plan import Kind
    from services.faults.swaps import SWAPPED, SwapRun

    unknown = set(filter(None, only.split(","))) - set(Kind)
    if unknown:
        raise CommandError(
            f"--only: no kind {', '.join(sorted(unknown))}; they are {', '.join(Kind)}", code=2
        )
    kinds = tuple(map(Kind, only.split(","))) if only else tuple(Kind)
    if swaps and only:
        raise CommandError("--swaps and --only: a run does one or the other", code=2)
    requests = requests or (max(6_000, int(swaps * rate)) if swaps else 22_000)
    run: Run | SwapRun
    try:
        if swaps:
            run = SwapRun.of_seed(seed, swaps, requests, rate)
        else:
            run = Run.of_seed(seed, kills, requests, rate, kinds, seconds)
    except ValueError as error:
        raise CommandError(str(error), code=2) from error
    folder = home or Path(tempfile.mkdtemp(prefix="weir-faults-"))
    if home is not None and home.exists() and any(home.iterdir()):
        raise CommandError(f"--home {home}: it is not empty, and the run needs one of its own", 2)
    report = _in(folder.resolve(), run, requests, swaps)
    good = kept(report, SWAPPED) if swaps else kept(report)
    if home is None and good:
        shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(report)
    else:
        err.print_json(data=report)
    if not good:
        what = f"--swaps {swaps}" if swaps else f"--kills {kills}"
        what += f" --requests {requests} --seed {seed}" + (f" --only {only}" if only else "")
        raise CommandError(
            f"promises were broken; `weir faults {what}` repeats the plan and the load, and "
            f"{folder} has the logs and the data"
        )


def _in(home: Path, run: Any, requests: int, swaps: int) -> dict[str, Any]:
    """Start a system in the folder, do the run, stop the system; the report.

    ``restarts`` are unplanned ends that the run itself did not bring about, by process; ``errors``
    are all errors in the logs: a process that misses another one logs some, and goes on.
    """
    from services.command.own_system import own_system
    from services.faults.inject import small_disk
    from services.faults.running import Running
    from services.incidents import incidents

    since = datetime.now(UTC)
    megabytes = DISK_MB_LEAST + DISK_MB_A_MILLION * requests // 1_000_000
    with contextlib.ExitStack() as stack:
        disk = "swaps fill no disk"
        if not swaps:
            disk = stack.enter_context(small_disk(home / "store", megabytes))
            if disk:
                note(f"disk_full is skipped: {disk}")
        started = stack.enter_context(own_system(home, TASK)).started
        system = started.system
        running = Running(system.settings, started.contract, (*system.ground, *system.others))
        stack.callback(running.stop_second, violent=True)
        what = f"{swaps} swaps" if swaps else f"{len(run.plan)} faults"
        note(f"seed {run.seed}: {what} over {requests} requests in {home}")
        report: dict[str, Any] = (
            run.execute(running, started.task, note)
            if swaps
            else run.execute(running, started.task, disk, note)
        )
    return {**report, **incidents(home, since, running.signalled).facts()}
