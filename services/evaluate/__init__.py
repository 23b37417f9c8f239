"""Weir's estimates without labels against NannyML's and against the realised values.

`sets` and `flights` are the data, `weir` and `peer` (NannyML, in an environment of its own) the
two sides, `comparison` puts them together, `report` renews the table in docs/estimates.md.

`labelling` stands alone: whether the labelling queue chooses better than chance; so does
`weighting`: whether training gains by weights where labels are missing by a choice; and `loop`:
whether triggers retrain better than a calendar (`loop_world` is the stream, `loop_weir` Weir's own
loop over it, with `loop_answers` and `loop_windows`; `loop_report` renews docs/loop.md).
"""
