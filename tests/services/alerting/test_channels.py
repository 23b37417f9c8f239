"""The URLs of apprise: all wrong ones are told, none is shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from services.alerting.channels import ChannelError, open_channels
from streams.alerts.wording import Message
from tests.services.alerting.receiver import Receiver
from tests.services.command_line import weir

MESSAGE = Message("[info] a title", "a body with <b>brackets</b>", "info")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    running = Receiver()
    yield running
    running.close()


def test_a_message_arrives_as_it_is(receiver: Receiver) -> None:
    (channel,) = open_channels(SecretStr(receiver.url("token")))
    assert channel.send(MESSAGE)
    (message,) = receiver.messages
    assert (message["title"], message["message"]) == (MESSAGE.title, MESSAGE.body)
    assert message["type"] == "info"


def test_a_receiver_that_refuses_or_is_not_there_is_told_by_false(receiver: Receiver) -> None:
    receiver.away = True
    (channel,) = open_channels(SecretStr(receiver.url("token")))
    assert not channel.send(MESSAGE)
    receiver.close()
    assert not channel.send(MESSAGE)


def test_channels_are_told_apart_whatever_their_order_and_named_without_their_secrets() -> None:
    one, two = "json://host/secret-1", "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    forth, back = (open_channels(SecretStr(f"{a}, {b} {a}")) for a, b in ((one, two), (two, one)))
    assert [channel.name for channel in forth] == ["1: JSON", "2: Slack"]
    assert [channel.key for channel in forth] == [channel.key for channel in back][::-1]
    assert open_channels(SecretStr(" ")) == []


def test_every_wrong_url_is_told_by_its_number_only() -> None:
    with pytest.raises(ChannelError) as told:
        open_channels(SecretStr("json://host/a bad://secret slack://secret"))
    assert "URL 2" in str(told.value)
    assert "URL 3" in str(told.value)
    assert "URL 1" not in str(told.value)
    assert "secret" not in str(told.value)
    with pytest.raises(ChannelError, match="with a scheme"):
        open_channels(SecretStr("host/secret"))


def test_the_command_sends_a_test_to_each_and_says_who_failed(receiver: Receiver) -> None:
    other = Receiver()
    other.away = True
    urls = f"{receiver.url('token-1')} {other.url('token-2')}"
    done = weir("alerts", "test", env={"WEIR_ALERT_URLS": urls})
    other.close()
    assert done.stdout.splitlines() == ["1: JSON: sent", "2: JSON: failed"]
    assert done.returncode == 1
    assert "1 of 2 receivers" in done.stderr
    assert "token" not in done.stdout + done.stderr
    assert receiver.titles == ["[info] Weir: a test"]
    assert weir("alerts", "test", env={"WEIR_ALERT_URLS": ""}).returncode == 2
