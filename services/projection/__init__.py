"""MLflow as a projection of the ``models`` topic: it says what the topic says, and nothing else.

    ModelRecords (+ bundles) ─► facts: what MLflow is to say ─┐
                             MLflow ─► store: what it says ───┴─► plan: the writes ─► store

`plan` is pure; each write is one call of MLflow and may be repeated. So a crash after, or within,
any write is got over by looking again: `docs/registry.md`.
"""
