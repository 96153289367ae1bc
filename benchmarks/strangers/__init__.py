"""Models and logs that energydiag was never tuned on: see README.md beside this file."""
