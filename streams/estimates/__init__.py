"""Estimates without labels: how good answers are, before their truth is known.

`design` makes numbers of features, `calibration` says P(true) of a score and features, `losses`
the loss to expect of a regression's answer; `estimator` puts them together for each kind of task,
and `measures` makes a chunk's metrics of them, with error bars and whether to trust them.
docs/estimates.md has the formulas and their sources.
"""
