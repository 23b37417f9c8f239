"""Where alerts are sent: apprise's URLs, which hold tokens and passwords and are shown nowhere."""

from __future__ import annotations

import hashlib
import logging

import apprise
from apprise.utils.parse import parse_urls
from pydantic import SecretStr

from streams.alerts.sign import Severity
from streams.alerts.wording import Message

TYPES: dict[Severity, apprise.NotifyType] = {
    "info": apprise.NotifyType.INFO,
    "warning": apprise.NotifyType.WARNING,
    "critical": apprise.NotifyType.FAILURE,
}
SEND_TIMEOUT_S = 30
"""For one message, all that a plugin does for it included."""
SILENT = ("apprise", "urllib3", "requests")
"""Libraries whose log lines may hold a URL."""


class ChannelError(ValueError):
    """URLs that no channel can be made of; says which by their number, never what they are."""


class Channel:
    """One receiver. ``name`` is for people, ``key`` names it in Kafka, however it is listed."""

    def __init__(self, number: int, url: str, plugin: apprise.NotifyBase) -> None:
        self.name = f"{number}: {plugin.service_name}"
        self.key = hashlib.sha256(url.encode()).hexdigest()[:8]
        self._apprise = apprise.Apprise(plugin)

    def send(self, message: Message) -> bool:
        """Whether the receiver has taken the message; False, and never an error, where not."""
        try:
            return bool(
                self._apprise.notify(
                    title=message.title,
                    body=message.body,
                    notify_type=TYPES[message.severity],
                    body_format=apprise.NotifyFormat.TEXT,
                    timeout=SEND_TIMEOUT_S,
                )
            )
        except Exception:  # a plugin's bug: whatever it says may hold the URL
            return False


def open_channels(urls: SecretStr) -> list[Channel]:
    """A channel for each URL, in order; a URL that stands twice counts once.

    Raises ChannelError with every URL that is none of apprise's.
    """
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    text = urls.get_secret_value()
    listed = list(dict.fromkeys(parse_urls(text)))
    if any("://" not in word for word in text.replace(", ", " ").split()):
        raise ChannelError(
            "WEIR_ALERT_URLS: URLs with a scheme, by comma or space, such as slack://… or mailto://…"
        )
    asset = apprise.AppriseAsset(app_id="Weir", app_desc="Weir", secure_logging=True)
    plugins = [apprise.Apprise.instantiate(url, asset=asset) for url in listed]
    wrong = [
        f"- URL {number} of WEIR_ALERT_URLS is not one that apprise can send to"
        for number, plugin in enumerate(plugins, 1)
        if plugin is None
    ]
    if wrong:
        raise ChannelError("\n".join([*wrong, "See https://github.com/caronc/apprise/wiki."]))
    return [
        Channel(number, url, plugin)
        for number, (url, plugin) in enumerate(zip(listed, plugins, strict=True), 1)
    ]
