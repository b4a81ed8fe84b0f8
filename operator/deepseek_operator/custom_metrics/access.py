"""Authorization of users by the API server, with SubjectAccessReviews."""

from typing import Any, NamedTuple

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.kinds import ACCESS_REVIEW
from deepseek_operator.custom_metrics.front_proxy import User
from deepseek_operator.custom_metrics.shared import Shared

# As long as Kubernetes' own extension servers cache a decision.
FRESH = 10.0  # seconds


class Question(NamedTuple):
    """Access that a user requests: an HTTP path, or a subresource (the metric) of a pod."""

    user: User
    path: str
    version: str = ""
    namespace: str = ""
    pod: str = ""
    metric: str = ""


class Verdict(NamedTuple):
    """Decision of the API server."""

    allowed: bool
    reason: str


class Access:
    """Authorizer that asks the API server and caches its decisions for `FRESH` seconds."""

    def __init__(self, client: Client, group: str):
        self._client = client
        self._group = group
        self._verdicts: Shared[Question, Verdict] = Shared(FRESH, self._ask)

    async def verdict(self, question: Question) -> Verdict:
        """Return the decision on a user's access.

        Access to the whole cluster is checked first: the autoscaler has it, and then one decision
        covers all of its requests for a thousand models.

        Raises:
            ApiError: The API server could not be reached.
        """
        everywhere = await self._verdicts.get(question._replace(namespace="", pod=""))
        if everywhere.allowed:
            return everywhere
        return await self._verdicts.get(question)

    async def _ask(self, question: Question) -> Verdict:
        user = question.user
        spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups)}
        if user.uid:
            spec["uid"] = user.uid
        if user.extra:
            spec["extra"] = {key: list(values) for key, values in user.extra}
        if question.metric:
            spec["resourceAttributes"] = {
                "group": self._group,
                "version": question.version,
                "verb": "get",
                # Empty: all of them.
                "namespace": question.namespace,
                "name": question.pod,
                "resource": "pods",
                "subresource": question.metric,
            }
        else:
            spec["nonResourceAttributes"] = {"path": question.path, "verb": "get"}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "metadata": {},
            "spec": spec,
        }
        status = (await self._client.create(ACCESS_REVIEW, review))["status"]
        return Verdict(bool(status.get("allowed")), str(status.get("reason", "")))
