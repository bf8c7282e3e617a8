"""Work that may hang, crash or eat memory, done in a child process: spawned, never forked; asked over a socket."""
