"""The fault harness: the real system under load, with its processes killed at random moments.

    plan      (pure) a seed ► which fault at which request
    traffic   (pure) a seed ► requests, truths and poison, in order
    load      publishes the traffic at a bounded rate
    visible   sees predictions as a consumer of committed records does
    running   the processes, by the supervisor's own files
    inject    carries out one fault and waits until it is over
    reading   reads every topic and every table back
    account   (pure) what was lost, doubled or wrong
    harness   all of it, in order; the windows are recounted by services.verify

What a seed repeats: the plan, and every record of the load in its order in each partition. What
it does not: how the operating system takes turns between the processes, so which batch a kill
hits; nor the versions that a trainer, killed or not, has brought into service by then.
"""
