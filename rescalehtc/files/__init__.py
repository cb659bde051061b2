"""Files in the storage of a project or task: `task.files(rescale)` gives them.

It needs the extra packages of `pip install "rescalehtc[storage]>=2"`.
"""

from ._files import Files
from ._transfers import StoredFile, TransferCounts

__all__ = ["Files", "StoredFile", "TransferCounts"]


def __dir__() -> list[str]:
    return __all__
