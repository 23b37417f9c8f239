"""Rollout: how an accepted version becomes champion, and ceases to be.

policy      what a task says: strategy, shares, error rates, guardrails
assignment  which version answers a request: a function of its key and the experiment
losses      what an answer costs, from what was predicted and the truth
sums        what a batch adds to the sums by which versions are compared
sequences   confidence sequences: intervals that hold however often one looks
evidence    the sums of an experiment as intervals
decide      what the intervals say: go on, move up, refuse, roll back
bandit      shares by the probability of being best
experiment  one comparison under way, as state
rollouts    all of it together: models and sums in, decisions and roles out
records     the same as Avro records
"""
