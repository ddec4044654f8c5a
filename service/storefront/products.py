"""`/v1/products`: what is on offer."""

from collections.abc import Sequence

from fastapi import APIRouter, HTTPException, status
from pydantic import BaseModel, ConfigDict

from service.catalogue import Identifier
from service.dependencies import OpenSession
from service.storefront.tables import Product, find_product, list_products

router = APIRouter(prefix="/products", tags=["products"])


class ProductView(BaseModel):
    """A product as shoppers see it."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    price_cents: int


@router.get("", response_model=list[ProductView])
def get_products(session: OpenSession) -> Sequence[Product]:
    """Lists what is on offer."""
    return list_products(session)


@router.get("/{product_id}", response_model=ProductView)
def get_product(product_id: Identifier, session: OpenSession) -> Product:
    """Shows one product; 404 for an unknown one."""
    product = find_product(session, product_id)
    if product is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, f"no product {product_id}")
    return product
