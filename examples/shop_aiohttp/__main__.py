"""Serve the shop: ``DATABASE_URL=postgresql://… PORT=8080 python -m examples.shop_aiohttp``."""

import os

from aiohttp import web

import holdall
from examples.shop_aiohttp.app import make_app

web.run_app(
    make_app(holdall.open(os.environ.get("DATABASE_URL") or "sqlite:///shop.db")),
    host="127.0.0.1",
    port=int(os.environ.get("PORT") or 8080),
)
