"""Conditions that other controllers set on the objects of a route."""

from collections.abc import Mapping
from typing import Any

# By kind: the conditions of the resource's object of that kind.
RouteConditions = Mapping[str, tuple[Mapping[str, Any], ...]]
