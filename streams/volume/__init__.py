"""Abuse and volume: a client's requests, or all of them, jump far above their usual.

    policy     what a task declares: what is looked for, and what is done about it
    counts     a batch's requests by client and short bucket of event time
    evidence   how much a count speaks for a jump: log likelihood ratios, and their sums over time
    seasons    how much busier than on average the stream is at an hour
    clients    what is remembered of each client: the busiest ones, in bounded memory
    detector   one bucket after the other: who jumps, who is calm again

All of it is pure; `streams.usage` and `streams.volumes` are its stages.
"""
