"""Whether a user may ask: the API server decides, by a SubjectAccessReview."""

from typing import Any, NamedTuple

from deepseek_operator.cluster.client import Client
from deepseek_operator.cluster.kinds import ACCESS_REVIEW
from deepseek_operator.custom_metrics.front_proxy import User
from deepseek_operator.custom_metrics.shared import Shared

# As long as Kubernetes' own extension servers take an answer for good.
FRESH = 10.0  # seconds


class Question(NamedTuple):
    """What a user wants: an HTTP path, or a subresource (the metric) of a pod."""

    user: User
    path: str
    version: str = ""
    namespace: str = ""
    pod: str = ""
    metric: str = ""


class Verdict(NamedTuple):
    """The API server's answer."""

    allowed: bool
    reason: str


class Access:
    """Asks the API server, and remembers its answers for a moment."""

    def __init__(self, client: Client, group: str):
        self._client = client
        self._group = group
        self._verdicts: Shared[Question, Verdict] = Shared(FRESH, self._ask)

    async def verdict(self, question: Question) -> Verdict:
        """Whether it is allowed.

        Asked for the whole cluster first: the autoscaler may ask there, and then one answer is
        enough for all of its questions about a thousand models.

        Raises:
            ApiError: The API server could not be asked.
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
                # Empty: every one.
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
