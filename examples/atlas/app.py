"""The service: ``uvicorn examples.atlas.app:app``."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.responses import RedirectResponse

from examples.atlas import catalogue, travellers
from examples.atlas.database import backend
from examples.atlas.models import MODELS
from holdall.integrations.fastapi import add_error_handlers


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    """Hold the database open for as long as the service runs."""
    async with backend:
        await backend.initialize(*MODELS)
        yield


app = FastAPI(title="Atlas", summary=f"Countries of the world, on holdall {version('holdall')}", lifespan=lifespan)
add_error_handlers(app)
app.include_router(catalogue.router)
app.include_router(travellers.router)


@app.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """Lead to the interactive documentation."""
    return RedirectResponse("/docs")


@app.get("/health", tags=["service"])
async def health() -> dict[str, str]:
    """Tell whether the database answers; 503 when it does not."""
    await backend.ping()
    return {"database": "ok"}
