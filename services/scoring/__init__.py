"""Offline scoring: a file or a query in, what serving would have answered out.

inputs.py tables as requests · sources.py CSV, Parquet, ClickHouse · sinks.py CSV, Parquet ·
run.py chunk by chunk from one to the other
"""
