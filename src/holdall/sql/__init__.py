"""What SQL stores share: the compiler, schemas and the reading of raw SQL."""
