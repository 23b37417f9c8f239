"""Tells people: what is decided of a task's findings (`streams.alerts`) into ``<task>.alerts``, and
from there to the channels of apprise.

    watching   drifts, metrics, retrain, models, dead-letters, lag, crashes ─► alerts   (one
               transaction: what is recorded and how far was read; so each alert is recorded once)
    sending    alerts ─► a channel, a thread each   (how far was sent is committed after sending: a
               crash repeats at most one message and forgets none)
    channels   the URLs of WEIR_ALERT_URLS, which are secrets
"""
