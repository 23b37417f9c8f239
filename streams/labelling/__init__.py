"""The labelling queue's decisions: which inputs are worth a person's time, and in which order.

policy    what a task says of it: budget, random share, weights
value     what an answer to an input would be worth: uncertainty, disagreement, novelty
ranking   the order, the random share, and the probability with which each input was chosen
answers   what a person typed, as a value of the task's target
"""
