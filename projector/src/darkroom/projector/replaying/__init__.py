"""The parts of a replay: folding partitions in several processes, at a pace, and counting what came of it."""
