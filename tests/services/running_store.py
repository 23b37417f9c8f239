"""A real store in a process of its own, for tests of whatever talks to it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import clickhouse_connect
import httpx

from services.ports import free_port
from services.supervisor.child import Child
from tests.conftest import PATIENCE_S

PASSWORD = "the-writers-password"


class RunningStore:
    """The store on a port of its own; `kill` and `start` keep port and folder."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "store.log"
        self._env = {f"WEIR_STORE_{name.upper()}": str(value) for name, value in settings.items()}
        self._env["WEIR_CLICKHOUSE_PASSWORD"] = PASSWORD
        # Kept, and without TLS: to make one with it takes longer than most questions.
        self._http = httpx.Client(timeout=PATIENCE_S, trust_env=False, verify=False)
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = ["--path", str(self.folder / "data"), "--port", str(self.port)]
        argv = [sys.executable, "-m", "services.store", *arguments]
        self.process = Child(argv, self._env, self.log)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self._http.get(f"{self.url}/ping", timeout=30).status_code == 200:
                    return
            except httpx.TransportError:
                assert not self.process.has_ended(), self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait()

    def values(self, query: str, **parameters: str) -> list[str]:
        """The rows of one column as text; none while the store or the table is not there.

        For looks that are repeated: a client of `reader` asks a lot before its first query.
        """
        try:
            answer = self._http.post(self.url, params=parameters, content=query)
        except httpx.TransportError:
            return []
        return answer.text.splitlines() if answer.status_code == 200 else []

    def reader(self, **options: Any) -> Any:
        """An unmodified clickhouse-connect client, as a notebook would make it."""
        return clickhouse_connect.get_client(host="127.0.0.1", port=self.port, **options)

    def writer(self, **options: Any) -> Any:
        return self.reader(username="weir", password=PASSWORD, **options)
