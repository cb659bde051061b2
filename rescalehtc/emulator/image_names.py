"""Names of images."""

from __future__ import annotations

from ..exceptions import HtcValidationError
from ..models import HTCJobDefinition


def is_image_name(name: str) -> bool:
    """Whether a string is a valid name of an image, `[path/]name[:tag]`."""
    try:
        HTCJobDefinition(image_name=name)
    except HtcValidationError:
        return False
    return True


def with_tag(image_name: str) -> str:
    """Return an image's name with its tag, which is `latest` if it has none."""
    return image_name if ":" in image_name else f"{image_name}:latest"
