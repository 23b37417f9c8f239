"""The app, as those see it who ask from another thread."""

from __future__ import annotations

import threading
from pathlib import Path

from streams.transport.app import App


def test_asking_whether_it_is_ready_before_it_runs_starts_nothing(
    tmp_path: Path,
) -> None:
    app = App(
        group="asked-early",
        worker="0",
        client={"bootstrap.servers": "127.0.0.1:1", "log_level": 0},
        mode="at_least_once",
        batch_max=10,
        folder=tmp_path,
        restore=lambda _: None,
        close=lambda: None,
    )
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(app.ready))
    asking.start()
    asking.join()
    assert answers == [False]
    # Made in that thread, a consumer's tasks would belong to an event loop that never runs.
    assert app._consumer is None
