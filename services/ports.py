"""Ports of 127.0.0.1 for servers of one start: free now, and nobody else's by accident."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from collections import deque
from pathlib import Path
from typing import IO

FIRST, LAST = 20_000, 32_767
"""Where free ports are looked for: below those that Linux gives to outgoing connections (32768 and
up by default; other systems begin higher). One of these could be taken, between the look and the
server's start, by any connection that somebody opens; and a client that asks again and again for a
server that is away may be given the server's own port, connect to itself, and keep it."""

_HELD = 256
_held: deque[IO[bytes]] = deque(maxlen=_HELD)
"""The last ports that `free_port` gave: their servers listen long before they leave this list."""


def free_port() -> int:
    """A port that nobody listens on and that no other call gives, in whatever process."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST + 1)
        lock = reserve(port)
        if lock is not None:
            _held.append(lock)
            return port


def reserve(port: int) -> IO[bytes] | None:
    """Hold a port for a server that is yet to start; None where it is held or listened on.

    Between the look whether a port is free and the moment a server listens on it lie seconds in
    which another one might start: so who looks takes a lock (``flock``) by the port's number. It
    holds while the file that this returns is open; the kernel lets go of it when the process ends,
    however it ends.
    """
    # A folder a user: nobody else can take or hold our locks.
    folder = Path(tempfile.gettempdir()) / f"weir-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    file = (folder / str(port)).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    if not is_free(port):
        file.close()
        return None
    return file


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still winding down is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
