"""``GET /api/training``: what the trainer is doing, which step and how much of it is done."""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from services.trainer.journal import read_progress


class TrainingProgress:
    """The endpoint; ``home`` is the deployment's folder. Null where no trainer has run in it."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def routes(self) -> list[BaseRoute]:
        """What it answers."""
        return [Route("/api/training", self._training)]

    async def _training(self, _: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(read_progress, self._home))
