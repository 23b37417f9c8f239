"""The learner: learns from each outcome, and publishes versions of what it has learned."""
