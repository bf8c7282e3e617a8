"""Real processes under conflicting commands and faults, and a checker that judges every answer by the log alone.

`plan` says what is asked (seeded, pure), `client` asks it and writes down what was answered, `fleet` runs the
services, `faults` harms them, `observer` reads the log meanwhile; `checker` then compares answers and log by rules
of its own (`logfold`, `rules`), which share no code with the services. `python -m campaign` runs rounds of it all.
"""
