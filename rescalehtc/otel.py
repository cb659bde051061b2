"""Create OpenTelemetry spans for the requests of a session.

    from rescalehtc import otel

    rescale = HtcSession()
    otel.instrument(rescale)

Each call of an operation is a span with the operation's name. Each attempt is a child span for the
HTTP request, with the attributes of OpenTelemetry's semantic conventions. A submission is a span
named `submit`, which contains the spans of its calls. No span contains a key, token, header, body
or query. Install the extra packages with `pip install "rescalehtc[otel]>=2"`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ._client.attempt import HookError
from ._objects.json_object import require_instance
from ._session import BaseSession
from ._version import __version__

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        f'rescalehtc.otel needs {_error.name}: pip install "rescalehtc[otel]>=2"', name=_error.name
    ) from _error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .hooks import RequestInfo, ResponseInfo

__all__ = ["instrument"]


def instrument(
    session: BaseSession,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    trace_jobs: bool = False,
) -> None:
    """Create spans for the requests of a session, and of sessions derived with `with_options`.

    Args:
        session: The session, blocking or asynchronous.
        tracer_provider: The tracer provider. None for the global provider of the process. A
            pickled copy of the session uses the global provider of its process.
        trace_jobs: Whether each job that the session submits gets the environment variable
            TRACEPARENT, and TRACESTATE if there is one, of the span `submit`, so that the trace can
            continue in its container. They override variables with the same names.

    Raises:
        HtcValidationError: `session` is not a session.
    """
    require_instance(session, BaseSession, "session", "instrument")  # type: ignore[type-abstract]
    session.client.observers.tracing = _Tracing(tracer_provider, trace_jobs)


class _Tracing:
    """The implementation of rescalehtc._client.attempt.Tracing."""

    def __init__(self, provider: trace.TracerProvider | None, trace_jobs: bool) -> None:
        self._tracer = trace.get_tracer("rescalehtc", __version__, provider)
        self._trace_jobs = trace_jobs

    def __reduce__(self) -> tuple[object, ...]:
        return _Tracing, (None, self._trace_jobs)

    @contextmanager
    def call(self, name: str) -> Generator[None]:
        with self._span(name, trace.SpanKind.INTERNAL, {}):
            yield

    @contextmanager
    def attempt(
        self, request: RequestInfo, url: str, route: str
    ) -> Generator[Callable[[ResponseInfo], None]]:
        parts = urlsplit(url)
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "url.full": url,
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        }
        if route:
            attributes["url.template"] = route
        if request.attempt > 1:
            attributes["http.request.resend_count"] = request.attempt - 1
        name = f"{request.method} {route}".rstrip()
        with self._span(name, trace.SpanKind.CLIENT, attributes) as span:

            def end(response: ResponseInfo) -> None:
                if response.status_code is not None:
                    span.set_attribute("http.response.status_code", response.status_code)
                if response.request_id is not None:
                    span.set_attribute("rescalehtc.request_id", response.request_id)

            yield end

    def job_variables(self) -> dict[str, str]:
        carrier: dict[str, str] = {}
        if self._trace_jobs:
            TraceContextTextMapPropagator().inject(carrier)
        return {name.upper(): value for name, value in carrier.items()}

    @contextmanager
    def _span(
        self, name: str, kind: trace.SpanKind, attributes: dict[str, str | int]
    ) -> Generator[trace.Span]:
        # The SDK's own exception event would also record the messages of other libraries.
        with self._tracer.start_as_current_span(
            name,
            kind=kind,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                cause = error.error if isinstance(error, HookError) else error
                status = getattr(cause, "status_code", None)
                kind_of_error = type(cause).__qualname__ if status is None else str(status)
                span.set_attribute("error.type", kind_of_error)
                span.set_status(trace.StatusCode.ERROR, str(cause))
                raise
