"""The kernel's own words about faults, read into records and written from them: one format a file."""
