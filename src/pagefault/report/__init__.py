"""What the machine remembers, as something to read: stories and tables for people, JSON for programs."""
