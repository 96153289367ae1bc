"""The command line: one file a command."""

from energydiag.cli.app import main

__all__ = ["main"]
