"""How Avro bodies become columns and columns become Avro bodies, in NumPy.

`types` reads the schema into a plan. Each direction then exists twice: one value at a time in
plain Python (`scalar_read`, `record_read`, `scalar_write`: the definition of what is right, and
the quick way for a handful of records) and a batch at a time (`batch_read`, `batch_write`). The
batch reader only has to notice that a record is odd; the scalar reader then decides and words
the reason. Use it through `schemas.avro_columns`.
"""
