"""Keyed, level-triggered reconcilers: from wanted to observed, until nothing is left to do."""
