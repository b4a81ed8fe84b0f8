"""GET /health/live and /health/ready, for Kubernetes, and /metrics, for Prometheus.

Live: the process makes sense to keep. Ready: the model takes requests. A busy server is both, and
so is one whose queue is full, which it says to those who ask for more (429).
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
    """503 when only a restart can help."""
    return _dead(request.app.state.lifecycle) or JSONResponse({"status": "live"})


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """200 while the model takes requests, else 503 and what it is waiting for."""
    lifecycle: Lifecycle = request.app.state.lifecycle
    loaded, total = lifecycle.progress.bytes
    loading = lifecycle.phase is Phase.LOADING
    gang = {} if lifecycle.gang is None else {"gang": lifecycle.gang.told()}
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
    """The answer where only a restart can help, for which requests must not wait either."""
    reason = lifecycle.dead()
    told = {"status": "dead", "detail": reason, **(more or {})}
    return JSONResponse(told, 503) if reason else None


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(
        generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST
    )
