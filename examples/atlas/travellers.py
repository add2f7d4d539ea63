"""What changes: travellers and the money between them. Reads that lead to a write happen in one session with it."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query

from examples.atlas.database import InSession, backend
from examples.atlas.models import NewTransfer, NewTraveller, Transfer, Traveller, TravellerChange
from holdall import Session

router = APIRouter(tags=["travellers"])


@router.post("/travellers", status_code=201)
async def add_traveller(new: NewTraveller) -> Traveller:
    """Store a traveller; 409 when the email is taken, or the home is no country."""
    return await backend.create(Traveller(**new.model_dump()))


@router.get("/travellers")
async def list_travellers(
    order: Literal["name", "-balance", "-updated_at"] = "name", limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[Traveller]:
    """List travellers."""
    return await backend.query(Traveller).order_by(order).limit(limit)


@router.get("/travellers/{traveller_id}")
async def read_traveller(traveller_id: UUID) -> Traveller:
    """Look a traveller up."""
    return await backend.get(Traveller, traveller_id)


@router.patch("/travellers/{traveller_id}")
async def change_traveller(traveller_id: UUID, change: TravellerChange, session: InSession) -> Traveller:
    """Change what is given; 409 when somebody else changed the traveller after the client read it."""
    traveller = await session.get(Traveller, traveller_id)
    for name, value in change.items():
        setattr(traveller, name, value)  # the version that the client saw too: save() refuses a stale one
    return await session.save(traveller)


@router.delete("/travellers/{traveller_id}", status_code=204)
async def delete_traveller(traveller_id: UUID, session: InSession) -> None:
    """Remove a traveller and the transfers from and to them."""
    await session.delete(await session.get(Traveller, traveller_id))


@router.post("/transfers", status_code=201)
async def send_money(order: NewTransfer) -> Transfer:
    """Send money, wholly or not at all; 409 when the reference was used before, or the payer has too little."""
    return await backend.run(transfer, order)  # again, in a new session, when the database says that it collided with another


async def transfer(session: Session, order: NewTransfer) -> Transfer:
    """Move money and note it. Whatever fails on the way undoes what was written before."""
    # Everybody locks in the order of the keys: A to B and B to A at once would otherwise wait for each other.
    await session.query(Traveller).filter(id__in=[order.payer, order.payee]).order_by("id").for_update()
    payer = await session.get(Traveller, order.payer)
    if payer.balance < order.amount:
        raise HTTPException(409, f"{payer.name} has {payer.balance}, which is less than {order.amount}")
    payer.balance -= order.amount
    await session.save(payer)
    payee = await session.get(Traveller, order.payee)
    payee.balance += order.amount
    await session.save(payee)
    return await session.create(Transfer(**order.model_dump()))


@router.get("/transfers")
async def list_transfers(
    traveller: Annotated[UUID | None, Query(description="payer")] = None, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> list[Transfer]:
    """List transfers, the newest first."""
    query = backend.query(Transfer)
    if traveller is not None:
        query = query.filter(payer=traveller)
    return await query.order_by("-made_at").limit(limit)
