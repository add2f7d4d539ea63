"""One folder per framework."""
