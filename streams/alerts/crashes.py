"""Processes that crash again and again ► signs."""

from __future__ import annotations

from dataclasses import dataclass

from streams.alerts.sign import Sign


@dataclass(frozen=True)
class Crashes:
    """What a look says of a process's unplanned ends.

    looping: whether it is in a crash loop, which has its own begin and end (the supervisor's).
    text: how it ended last, and its last error. log: the path of its log.
    """

    looping: bool
    text: str = ""
    log: str = ""


def of_crashes(process: str, crashes: Crashes, at_ms: int) -> Sign:
    """A look at a process: a crash loop is critical, anything else is well."""
    if not crashes.looping:
        return Sign(kind="crash-loop", about=process, state="well", at_ms=at_ms)
    return Sign(
        kind="crash-loop",
        about=process,
        state="bad",
        at_ms=at_ms,
        severity="critical",
        title=f"the {process} crashes again and again",
        message=(
            f"{crashes.text}\nIts log is {crashes.log}. It is started again each time; until the "
            "cause is mended its work stands still or is repeated. `weir status` shows how it is."
        ),
    )
