"""Faust over record batches: the one place that subclasses Faust. README.md says why each."""
