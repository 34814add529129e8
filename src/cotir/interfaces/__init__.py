"""Ways to use CoTIR without writing Python: the command line. Thin: build one pipeline, call one function."""
