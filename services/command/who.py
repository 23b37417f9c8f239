"""Who types."""

from __future__ import annotations

import getpass
import socket


def user() -> str:
    """The name of this process's user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"


def user_at_host() -> str:
    """``name@machine``, for acts that are kept."""
    return f"{user()}@{socket.gethostname()}"
