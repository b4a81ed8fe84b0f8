"""Routes of a follower pod: redirect every request to the leader with a 421."""

from fastapi import APIRouter, Request

from deepseek_server.api.errors import APIError
from deepseek_server.server.lifecycle import Lifecycle

router = APIRouter()


@router.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def reject(request: Request) -> None:
    """Respond with 421 to every request that a follower does not serve.

    Raises:
        APIError: always; the message names the leader.
    """
    lifecycle: Lifecycle = request.app.state.lifecycle
    leader = "" if lifecycle.gang is None else lifecycle.gang.leader
    raise APIError(
        421,
        f"this pod is a follower and serves no requests: send them to the leader {leader} or to "
        f"the model's Service",
        code="not_the_leader",
    )
