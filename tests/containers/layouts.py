"""OCI layouts, written without any tool."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TYPE = "application/vnd.oci.image."


def write_layout(folder: Path, architectures: Sequence[str]) -> None:
    """Write an image for one kind of processor or, as an index, for several, with the tag x."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def keep(content: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"mediaType": TYPE + kind, "digest": f"sha256:{digest}", "size": len(content)}

    def keep_image(architecture: str) -> dict[str, object]:
        layer = bytes(1024)  # an empty archive
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
        config = {"architecture": architecture, "os": "linux", "rootfs": rootfs}
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{TYPE}manifest.v1+json",
            "config": keep(json.dumps(config).encode(), "config.v1+json"),
            "layers": [keep(layer, "layer.v1.tar")],
        }
        # Spaces that no program would write.
        stored = keep(json.dumps(manifest, indent=3).encode(), "manifest.v1+json")
        return {**stored, "platform": {"architecture": architecture, "os": "linux"}}

    images = [keep_image(architecture) for architecture in architectures]
    named = images[0]
    if len(images) > 1:
        index = {"schemaVersion": 2, "mediaType": f"{TYPE}index.v1+json", "manifests": images}
        named = keep(json.dumps(index).encode(), "index.v1+json")
    else:
        del named["platform"]
    named["annotations"] = {"org.opencontainers.image.ref.name": "x"}
    layout = {"schemaVersion": 2, "manifests": [named]}
    (folder / "index.json").write_text(json.dumps(layout, separators=(",", ":")))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
