"""Atlas: the world's countries, subdivisions, languages and currencies, and travellers who send each other money."""
