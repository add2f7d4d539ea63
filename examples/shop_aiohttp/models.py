"""What the shop keeps."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from holdall import Field, Model, utc_now, uuid7


class Product(Model):
    """Something to buy; ``stock`` never falls below zero, because whoever sells locks the record first."""

    sku: str = Field(primary_key=True, max_length=40, min_length=1)
    title: str = Field(max_length=200)
    price: Decimal = Field(ge=0, max_digits=12, decimal_places=2)
    stock: int = Field(default=0, ge=0)

    class Meta:
        """As customers browse."""

        name = "shop_products"
        order_by = ["title"]


class Sale(Model):
    """Pieces of one product, sold at the price of the moment."""

    id: UUID = Field(default_factory=uuid7, primary_key=True)
    sku: str = Field(max_length=40, references=Product, index=True)
    pieces: int = Field(ge=1)
    paid: Decimal = Field(max_digits=12, decimal_places=2)
    sold_at: datetime = Field(default_factory=utc_now)

    class Meta:
        """As they were made."""

        name = "shop_sales"
        order_by = ["sold_at"]


MODELS = (Product, Sale)
