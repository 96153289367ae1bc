"""Files of named tensors, read without running anything that is inside: one file a format."""
