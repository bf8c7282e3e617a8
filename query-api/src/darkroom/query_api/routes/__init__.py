"""One blueprint per kind of thing that can be read."""
