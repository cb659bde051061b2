"""Read a published description from a file or a URL, in JSON or YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import yaml

from rescalehtc._raw import is_object

from ..spec import Spec
from . import InputError


class Published(Spec):
    """A published description."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw


def load(source: str) -> Published:
    """Read a description from a file or an http(s) URL.

    Raises:
        InputError: The input can't be read, or is not a description.
    """
    try:
        text = _fetch(source) if re.match("https?://", source) else Path(source).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"can't be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        raw: Any = _parse(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError("is neither JSON nor YAML") from error
    if not is_object(raw) or not is_object(raw.get("paths")):
        raise InputError("is not an OpenAPI description: it has no paths")
    if not str(raw.get("openapi")).startswith("3."):
        raise InputError("is not a description in OpenAPI 3")
    return Published(raw)


def _fetch(url: str) -> bytes:
    try:
        answer = httpx.get(url, follow_redirects=True, timeout=30)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if not answer.is_success:
        raise ValueError(f"the server returned status {answer.status_code}")
    return answer.content


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return yaml.safe_load(text)
