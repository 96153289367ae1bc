"""How an energy function is built, called and read."""
