"""Routes of custom.metrics.k8s.io: the list of metrics, and their values for pods."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web

from deepseek_operator.cluster.errors import ApiError, RejectedError
from deepseek_operator.custom_metrics.access import Access, Question
from deepseek_operator.custom_metrics.front_proxy import FrontProxy, StrangerError
from deepseek_operator.custom_metrics.load import Load, UnreadableError, Value
from deepseek_operator.plan.desired.scaling import METRICS

GROUP = "custom.metrics.k8s.io"
# prometheus-adapter's chart installs v1beta1, so that version must stay free.
VERSION = "v1beta2"
ROOT = f"/apis/{GROUP}/{VERSION}"
EVERY_POD = "*"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RefusalError(Exception):
    """Rejected request, with the fields of Kubernetes' Status."""

    def __init__(self, code: HTTPStatus, reason: str, message: str):
        super().__init__(message)
        self.code = code
        self.reason = reason


class Api:
    """Handlers of the API, for one configuration of the API server's front proxy."""

    def __init__(self, front_proxy: FrontProxy, access: Access, load: Load):
        self._front_proxy = front_proxy
        self._access = access
        self._load = load

    def application(self) -> web.Application:
        """Return the application; unknown paths are answered with 404 to authorized users."""
        app = web.Application(middlewares=[_errors_as_status, self._authorize])
        app.router.add_get(ROOT, self._discovery)
        app.router.add_get("/openapi/{version:v[23]}", _openapi)
        app.router.add_get(f"{ROOT}/namespaces/{{namespace}}/pods/{{pod}}/{{metric}}", self._values)
        return app

    @web.middleware
    async def _authorize(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport else None
        user = self._front_proxy.user(certificate, request.headers.items())
        question = Question(user, request.path)
        if "metric" in request.match_info:
            parts = {name: request.match_info[name] for name in ("namespace", "pod", "metric")}
            question = Question(user, "", VERSION, **parts)
        verdict = await self._access.verdict(question)
        if not verdict.allowed:
            raise RefusalError(
                HTTPStatus.FORBIDDEN,
                "Forbidden",
                f"User {user.name} may not get {request.path}: {verdict.reason or 'no rule allows it'}",
            )
        return await handler(request)

    async def _discovery(self, _: web.Request) -> web.Response:
        resources = [
            {
                "name": f"pods/{name}",
                "singularName": "",
                "namespaced": True,
                "kind": "MetricValueList",
                "verbs": ["get"],
            }
            for name in METRICS
        ]
        return web.json_response(
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{GROUP}/{VERSION}",
                "resources": resources,
            }
        )

    async def _values(self, request: web.Request) -> web.Response:
        namespace, pod = request.match_info["namespace"], request.match_info["pod"]
        metric = METRICS.get(request.match_info["metric"])
        if metric is None:
            raise RefusalError(
                HTTPStatus.NOT_FOUND,
                "NotFound",
                f"Unknown metric {request.match_info['metric']}; available: {', '.join(METRICS)}",
            )
        if request.query.get("metricLabelSelector"):
            raise RefusalError(
                HTTPStatus.BAD_REQUEST,
                "BadRequest",
                "These metrics have no labels: remove metricLabelSelector.",
            )
        if pod == EVERY_POD:
            selector = request.query.get("labelSelector", "")
            try:
                values = await self._load.of(metric, namespace, selector=selector)
            except RejectedError as error:
                raise RefusalError(HTTPStatus.BAD_REQUEST, "BadRequest", str(error)) from error
        else:
            values = await self._load.of(metric, namespace, name=pod)
            if not values:
                raise RefusalError(
                    HTTPStatus.NOT_FOUND,
                    "NotFound",
                    f"{namespace}/{pod} is not a ready pod of a DeepSeekDeployment.",
                )
        return web.json_response(
            {
                "kind": "MetricValueList",
                "apiVersion": f"{GROUP}/{VERSION}",
                "metadata": {},
                "items": [_item(namespace, metric.name, value) for value in values],
            }
        )


async def _openapi(request: web.Request) -> web.Response:
    """Return an empty schema; the API server requests it every minute and logs an error without one."""
    if request.match_info["version"] == "v3":
        return web.json_response({"paths": {}})
    info = {"title": GROUP, "version": VERSION}
    return web.json_response({"swagger": "2.0", "info": info, "paths": {}})


def _item(namespace: str, metric: str, value: Value) -> dict[str, Any]:
    return {
        "describedObject": {
            "kind": "Pod",
            "namespace": namespace,
            "name": value.pod,
            "apiVersion": "v1",
        },
        "metric": {"name": metric},
        "timestamp": value.time,
        "value": quantity(value.value),
    }


def quantity(value: float) -> str:
    """Return a number as a Kubernetes quantity, whole or in thousandths."""
    thousandths = round(value * 1000)
    whole, rest = divmod(thousandths, 1000)
    return f"{thousandths}m" if rest else str(whole)


@web.middleware
async def _errors_as_status(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Convert exceptions to Kubernetes' Status objects."""
    try:
        return await handler(request)
    except StrangerError as error:
        return _status(HTTPStatus.UNAUTHORIZED, "Unauthorized", str(error))
    except RefusalError as error:
        return _status(error.code, error.reason, str(error))
    except web.HTTPException as error:
        return _status(HTTPStatus(error.status), error.reason, f"{error.status} {request.path}")
    except (UnreadableError, ApiError) as error:
        return _status(HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable", str(error))


def _status(code: HTTPStatus, reason: str, message: str) -> web.Response:
    return web.json_response(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": int(code),
        },
        status=code,
    )
