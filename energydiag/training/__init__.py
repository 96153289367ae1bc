"""Retraining an energy head: plan, objective, loop."""
