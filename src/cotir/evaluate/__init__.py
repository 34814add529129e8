"""Evaluation: methods over test pictures under one protocol, scores with intervals, cost, and a page to look at."""
