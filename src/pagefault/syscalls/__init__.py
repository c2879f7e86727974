"""System calls, one file a family, and what a running program needs around them: tasks, signals, time."""
