"""What the store can be told, beside the settings that all processes share."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.store.access import Limits


class StoreSettings(BaseSettings):
    """Limits of the store, from ``WEIR_STORE_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="WEIR_STORE_", extra="ignore")

    max_execution_time_s: float = Field(default=60.0, gt=0, description="Of one query of a reader.")
    max_memory_bytes: int = Field(default=2 << 30, gt=0, description="Of one query of a reader.")
    max_result_rows: int = Field(
        default=5_000_000,
        ge=10_000,
        description="Of one query of a reader; clients ask for 2,000 settings when they connect.",
    )
    max_result_bytes: int = Field(default=1 << 30, gt=0, description="Of one query of a reader.")
    max_body_bytes: int = Field(
        default=512 << 20, gt=0, description="Of one request, decompressed."
    )
    max_reader_body_bytes: int = Field(
        default=1 << 20, gt=0, description="Of one request of a reader, decompressed."
    )
    send_wait_s: float = Field(
        default=60.0, gt=0, description="For a client to take the next block of its answer."
    )
    max_connections: int = Field(
        default=500, gt=0, description="Open at once; more are told to come again."
    )
    readers: int = Field(default=6, gt=0, description="Readers' queries that run at once.")
    writers: int = Field(default=4, gt=0, description="Writers' statements that run at once.")
    max_waiting: int = Field(
        default=200, ge=0, description="Calls that may wait for their turn, a role."
    )
    least_free_bytes: int = Field(
        default=64 << 20,
        ge=0,
        description="Of its disk: below it nothing is written, merged or opened.",
    )
    stop_wait_s: float = Field(default=30.0, gt=0, description="At stop, for what is running.")

    def limits(self) -> Limits:
        """The limits of readers."""
        return Limits(
            self.max_execution_time_s,
            self.max_memory_bytes,
            self.max_result_rows,
            self.max_result_bytes,
        )
