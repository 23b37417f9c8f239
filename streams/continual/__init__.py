"""Continual learning: a model that learns from each outcome, alone or on top of the champion."""
