"""What is wrong with an exception table: one rule a function, each with a code."""
