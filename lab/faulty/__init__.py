"""The module of bugs in a real kernel: what it is built of, and the program that has the bugs committed."""
