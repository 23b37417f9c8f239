"""Replays: recorded requests answered by another version, beside what was answered then.

said.py what was said of rows · recorded.py reads it back, from ClickHouse or from Kafka ·
compare.py sums up both sides · paired.py losses on the same rows, with an interval
"""
