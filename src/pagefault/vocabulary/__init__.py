"""The nouns everybody passes around: frozen data, no behaviour, importing nothing."""
