"""Checks of what the system tells against what its topics hold.

    reading   reads topics back whole, as a consumer of committed records
    recount   (pure) the windows' metrics by their plain definition, and what differs
    scores    (pure) the quality of one window's outcomes, by scikit-learn
    limits    (pure) its confidence limits
    metrics   all of it for the metrics of one task
    features  (pure) windowed features by their plain definition, and what differs
    logged    all of it for the windowed features that a task's predictions logged

``weir verify`` is its command; the fault harness judges by `recount` as well.
"""
