"""All that is true of one architecture only: one form (`architecture.py`), one file that fills it in."""
