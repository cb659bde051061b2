"""openapi/htc.yaml -> rescalehtc/models.py, by datamodel-code-generator.

Its options are in pyproject.toml; only which classes are requests is worked out here.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from .spec import Spec

REQUEST = "rescalehtc._model_base.Request"


def generate(spec_path: Path, root: Path) -> str:
    """Return the text of rescalehtc/models.py."""
    requests = sorted(Spec(spec_path).request_components())
    with tempfile.TemporaryDirectory(dir=root) as folder:  # inside, for the formatters' settings
        output = Path(folder) / "models.py"
        subprocess.run(
            [
                *(sys.executable, "-m", "datamodel_code_generator"),
                *("--input", str(spec_path), "--output", str(output)),
                *("--base-class-map", json.dumps(dict.fromkeys(requests, REQUEST))),
            ],
            check=True,
            cwd=root,
        )
        return output.read_text(encoding="utf-8")
