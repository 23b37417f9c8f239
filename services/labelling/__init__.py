"""The labelling queue: what a person is asked, and what becomes of the answer.

desk        who looks at what now, who could not tell, what was answered: SQLite in the home
candidates  what waits, from ClickHouse, with what is needed to rank it
queue       both together: next inputs, answers, undo; for `weir label` and the page
truths      answers on their way to the truth topic
sheets      answers from a file: CSV out and in

The decisions are in `streams.labelling`.
"""
