"""One folder per database, the same file names in each."""
