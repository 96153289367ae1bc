"""``python -m energydiag``."""

from energydiag.cli import main

if __name__ == "__main__":
    main()
