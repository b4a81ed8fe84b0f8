"""GET /health/live and /health/ready for Kubernetes, and /metrics for Prometheus.

Live: a restart is not needed. Ready: the model accepts requests. A busy server is both, and so is one
with a full queue, which rejects further requests with a 429.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from deepseek_server.server.lifecycle import Lifecycle, Phase

router = APIRouter()


@router.get("/health/live")
async def live(request: Request) -> Response:
    """Return 503 if only a restart can help, else 200."""
    return _dead(request.app.state.lifecycle) or JSONResponse({"status": "live"})


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """Return 200 while the model accepts requests, else 503 and the state of the server."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    loaded, total = lifecycle.progress.bytes
    loading = lifecycle.phase is Phase.LOADING
    gang = {} if lifecycle.gang is None else {"gang": lifecycle.gang.to_json()}
    return _dead(lifecycle, gang) or JSONResponse(
        {
            "status": lifecycle.phase,
            "detail": lifecycle.detail(),
            "loadedBytes": loaded,
            "totalBytes": total,
            "secondsLeft": lifecycle.progress.seconds_left if loading else None,
            **gang,
        },
        200 if lifecycle.phase is Phase.READY else 503,
    )


def _dead(lifecycle: Lifecycle, more: Mapping[str, Any] | None = None) -> Response | None:
    """Return a 503 if only a restart can help; such a server must not get requests either."""
    reason = lifecycle.dead()
    body = {"status": "dead", "detail": reason, **(more or {})}
    return JSONResponse(body, 503) if reason else None


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(
        generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST
    )
