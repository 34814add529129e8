"""CoTIR-Bench: instructions and reasoning traces for damaged pictures."""
