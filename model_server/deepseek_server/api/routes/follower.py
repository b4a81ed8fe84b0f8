"""What a pod that computes for another one says to requests: go there."""

from fastapi import APIRouter, Request

from deepseek_server.api.errors import APIError
from deepseek_server.server.lifecycle import Lifecycle

router = APIRouter()


@router.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def elsewhere(request: Request) -> None:
    """421 for whatever this pod does not serve.

    Raises:
        APIError: always; names the leader.
    """
    lifecycle: Lifecycle = request.app.state.lifecycle
    leader = "" if lifecycle.gang is None else lifecycle.gang.leader
    raise APIError(
        421,
        f"this pod computes for the leader of the model and takes no requests: send them to "
        f"{leader}, or to the Service of the model",
        code="not_the_leader",
    )
