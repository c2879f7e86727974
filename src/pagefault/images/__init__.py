"""Files that are a kernel, or its RAM: bytes with addresses."""
