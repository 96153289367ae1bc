"""What a repair by diagnosis is worth beside a fix drawn at random and beside training on without any."""
