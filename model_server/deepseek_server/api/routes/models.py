"""GET /v1/models and /v1/models/{id}: the served model."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from deepseek_server.api.generation import check_model, served_model
from deepseek_server.server.served_model import ServedModel

router = APIRouter()

Served = Annotated[ServedModel, Depends(served_model)]


@router.get("/v1/models")
async def list_models(served: Served) -> dict[str, Any]:
    """List the served model."""
    return {"object": "list", "data": [_card(served)]}


# A model's name may be a hub id, which has a slash.
@router.get("/v1/models/{name:path}")
async def get_model(name: str, served: Served) -> dict[str, Any]:
    """Return the model with a name."""
    check_model(name, served)
    return _card(served)


def _card(served: ServedModel) -> dict[str, Any]:
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "deepseek-operator",
        "max_model_len": served.engine.limits.context,
    }
