"""Weir's detectors of drift beside its peers', on streams whose changes are known.

`streams` and `flights` make the streams, `ours`, `rivers` and `peers` (alibi-detect and NannyML, in
environments of their own) say where they see a change, `judge` measures them, `comparison` puts it
together and `report` renews docs/drift.md.
"""
