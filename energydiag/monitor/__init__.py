"""Watching an energy head while it trains: a few lines in a user's loop, a log that ``inspect run`` reads, alarms."""

from energydiag.monitor.monitor import Monitor

__all__ = ["Monitor"]
