"""The parts of `commands.py`: each module that is run as a process says so in its first lines."""
