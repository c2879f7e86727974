"""A live CPU asks: the only place where the loop CPU -> fault -> decision -> effects -> CPU closes."""
