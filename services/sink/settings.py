"""What the sink can be told, beside the settings that all processes share."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SinkSettings(BaseSettings):
    """Sizes and times of the sink, from ``WEIR_SINK_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="WEIR_SINK_", extra="ignore")

    batch_rows: int = Field(
        default=50_000, gt=0, le=500_000, description="A table's rows that make an insert due."
    )
    batch_s: float = Field(default=0.5, ge=0, description="Age of rows that makes an insert due.")
    buffer_bytes: int = Field(
        default=64 << 20,
        gt=0,
        le=512 << 20,
        description="Bytes gathered, all topics; then all are inserted.",
    )
    group: str = Field(default="", description="Consumer group that shows the lag; '': by task.")

    def group_of(self, task: str) -> str:
        """The consumer group that shows the lag of a task's sink."""
        return self.group or f"weir-sink-{task}"
