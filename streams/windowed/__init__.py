"""Features computed from the stream: counts and means of the last hours, by key.

`declare` is what a user writes, `definition` what follows from it, `cells` the sums, `window` the
look-up that serving and training share, `agent` and `following` the thin shells around them.
"""
