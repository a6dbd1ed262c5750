"""For models that import it: there is nothing in it, as in the original."""
