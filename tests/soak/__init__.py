"""Everything at once, for as long as one likes: ``make soak SECONDS=60 ENGINES=postgres,sqlite``."""
