"""Strangers' pictures, decoded in a child process that may hang, crash or run out of memory without harm."""
