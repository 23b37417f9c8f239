"""Drift: whether what a version is served, says and is told has changed since its training.

Pure: no topic, no clock. `counts` sums a micro-batch against a version's `reference`, `family`
takes such sums one after the other and says what it finds (`finding`), by the task's `policy`.
docs/drift.md says how, and how often it is wrong.
"""
