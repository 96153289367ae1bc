"""Energy heads that were trained with one known fault each, and how often the diagnosis names it."""
