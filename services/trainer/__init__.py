"""The trainer: answers each retrain event with a model version, or with the reason for none."""
