"""The credentials of a storage, which are renewed before they expire."""

from __future__ import annotations

import os
import threading
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .._environment import STORAGE_ENDPOINT_VARIABLE
from ..exceptions import HtcException, HtcFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .. import models
    from .._wire.operation import Call
    from ..htcsession import HtcSession

# Credentials are renewed this long before they expire, or after half their lifetime.
RENEW_SECONDS = 300.0
# More than the requests that a transfer sends at the same time.
_MAX_FAILURES = 32
_AWS_NAMES = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "token": "AWS_SESSION_TOKEN",
}


class StorageCredentials:
    """The credentials of a storage.

    obstore's store refers to them. They do not refer to the store, because the garbage collector
    can't free such a cycle.

    Attributes:
        lock: A lock for renewals. It is reentrant, because a signal handler may use the files.
        failures: The exceptions that ended renewals by obstore, in any thread.
    """

    def __init__(
        self,
        rescale: HtcSession,
        call: Call,
        token: models.StorageAccessToken,
    ) -> None:
        self.lock = threading.RLock()
        self.failures: deque[HtcException] = deque(maxlen=_MAX_FAILURES)
        self._rescale = rescale
        self._call = call
        self._take(token)

    def __getstate__(self) -> None:
        message = (
            "files can't be pickled, because they contain credentials; pickle the task instead"
        )
        raise TypeError(message)

    def _take(self, token: models.StorageAccessToken) -> None:
        now = datetime.now(UTC)
        expires_at = getattr(token, "expiration", None) or now + timedelta(seconds=RENEW_SECONDS)
        self.expires_at: datetime = (
            expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC)
        )
        life = (self.expires_at - now).total_seconds()
        self._renew_at = self.expires_at - timedelta(seconds=min(RENEW_SECONDS, life / 2))
        self._token = token

    @property
    def variables(self) -> Mapping[str, Any]:
        """The token's variables."""
        return getattr(self._token, "credentials", None) or {}

    @property
    def endpoint(self) -> str | None:
        """The storage's endpoint, if it is not the default."""
        endpoint = self.variables.get(STORAGE_ENDPOINT_VARIABLE)
        endpoint = endpoint or getattr(self._token, "endpoint", None)
        return endpoint or os.environ.get(STORAGE_ENDPOINT_VARIABLE) or None

    @property
    def aws_region(self) -> str:
        """The region, by its name on AWS."""
        region = str(getattr(self._token, "region", None) or "")
        return region.removeprefix("AWS_").lower().replace("_", "-") or "us-east-1"

    @property
    def is_due(self) -> bool:
        """Whether they must be renewed."""
        return datetime.now(UTC) >= self._renew_at

    def renew(self) -> None:
        """Fetch new credentials."""
        self._take(self._call.operation.to_record(self._rescale.send(self._call)))

    def provide(self) -> Any:
        """Return credentials to obstore, which calls this before each request near their end."""
        with self.lock:
            try:
                if self.is_due:
                    self.renew()
                return self.for_aws()
            except HtcException as error:
                self.failures.append(error)
                raise

    def for_aws(self) -> dict[str, object]:
        """Return credentials for AWS.

        Raises:
            HtcFileError: They are incomplete.
        """
        credentials = {key: self.variables.get(name) for key, name in _AWS_NAMES.items()}
        if missing := [name for key, name in _AWS_NAMES.items() if not credentials[key]]:
            raise HtcFileError(f"the storage token has no {' and no '.join(missing)}")
        return {**credentials, "expires_at": self.expires_at}
