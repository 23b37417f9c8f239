"""What the trainer is doing, as the page asks for it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
from starlette.applications import Starlette

from services.console.training import TrainingProgress
from services.trainer.journal import read_progress, write_progress


def asked(home: Path) -> object:
    async def answered() -> object:
        transport = httpx.ASGITransport(app=Starlette(routes=TrainingProgress(home).routes()))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get("/api/training")).json()

    return asyncio.run(answered())


def test_the_page_is_told_the_step_and_the_share_that_is_done(tmp_path: Path) -> None:
    assert asked(tmp_path) is None  # no trainer has run here
    write_progress(tmp_path, "monthly-1", "search", 0.12345, 1_000)
    expected = {"event_id": "monthly-1", "step": "search", "done": 0.123, "at": 1_000}
    assert asked(tmp_path) == read_progress(tmp_path) == expected
    write_progress(tmp_path, "monthly-1", "candidates", 0.3, 2_000)
    assert read_progress(tmp_path) == expected | {"step": "candidates", "done": 0.3, "at": 2_000}
