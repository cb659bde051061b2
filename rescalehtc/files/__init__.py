"""Files in the storage of a project or task, from `task.files(rescale)`.

Install the extra packages with `pip install "rescalehtc[storage]>=2"`.
"""

from ._files import Files
from ._transfers import StoredFile, TransferCounts

__all__ = ["Files", "StoredFile", "TransferCounts"]


def __dir__() -> list[str]:
    return __all__
