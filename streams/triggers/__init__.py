"""Triggers: when the stream itself asks for a new version, and why not where it does not.

declare     what a task says: triggers, their conditions, cool-downs, budgets and checks
inputs      what is read, as plain values: metrics, drifts, versions, what others asked
labels      how many labels have come, of which class, and how many requests were rejected
series      the newest windows of the metrics that the conditions look at
conditions  whether a condition holds, with its evidence
checks      why an event is not to be published now
policies    all of it together: inputs in, retrain events and refusals out
records     the same as Avro records
agent       the stage: records in, records out, its state in a changelog
changelog   the state as it was committed
"""
