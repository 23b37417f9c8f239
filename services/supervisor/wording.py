"""What is told of a process that ended unplanned: the same words in every place."""

from __future__ import annotations

from typing import Any

from services.supervisor.crashes import LOOP_ENDS, LOOP_WITHIN_S
from services.supervisor.state import ProcessState


def trouble(state: ProcessState, now: float) -> dict[str, Any] | None:
    """Return what is known of a process's unplanned ends, or None where it had none.

    ``crash_loop``: whether it is in one; ``text``: one line with the last end and its error;
    ``how``, ``error``, ``at`` and ``log`` as in `UnplannedEnd`. now: seconds since 1970.
    """
    last = state.last_end
    if last is None:
        return None
    looping = state.looping(now)
    error = last["error"] or "its log names no error"
    times = "once" if state.restarts == 1 else f"{state.restarts} times"
    head = f"crash loop: {state.name}" if looping else state.name
    return {
        "crash_loop": looping,
        "ends": state.restarts,
        "text": f"{head} ended unplanned {times}, last with {last['how']}: {error}",
        "how": last["how"],
        "error": last["error"],
        "at": last["at"],
        "log": last["log"],
    }


LOOP_RULE = f"{LOOP_ENDS} unplanned ends within {LOOP_WITHIN_S / 60:g} min"
"""What a crash loop is, in words."""
