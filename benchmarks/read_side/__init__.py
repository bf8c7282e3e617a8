"""The parts of `replay.py` and `projection.py`: each module that is run as a process says so in its first lines."""
