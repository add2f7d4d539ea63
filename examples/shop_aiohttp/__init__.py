"""A small shop over aiohttp: ``python -m examples.shop_aiohttp``."""
