"""What of a stream's records a person is told of, and how often.

    policy    what a task declares: bounds, reminders, limits
    signs     records ► signs: something is bad, is well again, or has happened
    levels    figures looked at again and again (lag, dead letters) ► signs
    book      signs ► notices: one an episode, a reminder, the end
    budget    notices ► messages: few enough for a person, none forgotten
    wording   the texts of a message, with nothing in them that a channel would obey

All of it is pure: it is told the time and knows neither Kafka nor a channel.
"""
