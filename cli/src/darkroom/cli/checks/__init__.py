"""What `darkroom doctor` looks at, one function per thing, each with a line on how to mend it."""
