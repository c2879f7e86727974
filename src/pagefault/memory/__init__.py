"""Where bytes are: RAM, with holes allowed."""
