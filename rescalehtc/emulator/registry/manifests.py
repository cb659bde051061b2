"""Manifests of images, and errors of a registry."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

IMAGES: Final = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


class RegistryError(Exception):
    """The registry rejects a request, with a status, a code of the specification, and a reason."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(alias_generator=to_camel)


class Platform(_Part):
    """The platform of an image, with its architecture such as `amd64`."""

    architecture: str | None = None


class Descriptor(_Part):
    """A reference to content by its digest."""

    digest: Annotated[str, StringConstraints(pattern="^sha256:[0-9a-f]{64}$")]
    size: Annotated[int, Field(ge=0)]
    urls: list[str] = []
    platform: Platform = Platform()


class Contents(_Part):
    """A manifest: of an image with a configuration and layers, or of an index of images."""

    schema_version: Literal[2]
    media_type: str | None = None
    config: Descriptor | None = None
    layers: list[Descriptor] = []
    manifests: list[Descriptor] = []

    @property
    def references(self) -> list[Descriptor]:
        """The content that must be in the registry. Layers with URLs are elsewhere."""
        layers = [layer for layer in self.layers if not layer.urls]
        return [self.config, *layers] if self.config else self.manifests


def parse(text: bytes, media_type: str) -> Contents:
    """Read a manifest.

    Raises:
        RegistryError: It is not a manifest of this type, or the type is not supported.
    """
    try:
        contents = Contents.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the body"
        raise RegistryError(400, "MANIFEST_INVALID", f"{place}: {first['msg']}") from None
    types = INDEXES if contents.config is None else IMAGES
    if media_type not in types or contents.media_type not in (None, media_type):
        raise RegistryError(400, "MANIFEST_INVALID", "the Content-Type does not match the manifest")
    return contents
