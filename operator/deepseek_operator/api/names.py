"""Types for names of Kubernetes objects, with the API server's limits."""

from typing import Annotated

from pydantic import Field

NAMESPACE = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
OBJECT = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=OBJECT)]
Namespace = Annotated[str, Field(min_length=1, max_length=63, pattern=NAMESPACE)]
