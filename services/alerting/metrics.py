"""What the service tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

RECORDED = Counter("weir_alerts", "Alerts recorded", ["kind", "severity", "change"])
UNREADABLE = Counter("weir_alerts_unreadable", "Records that no schema reads", ["topic"])
MESSAGES = Counter("weir_alert_messages", "Tries to send a message", ["channel", "result"])
WAITING = Gauge("weir_alerts_waiting", "Alerts that a channel has yet to be sent", ["channel"])
OPEN = Gauge("weir_alerts_open", "Episodes that are open")
