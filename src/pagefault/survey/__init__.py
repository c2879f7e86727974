"""Exception tables as people read them: every entry described, selected, counted, compared."""
