"""`python -m pagefault` is `pagefault`."""

from .cli import main

main()
