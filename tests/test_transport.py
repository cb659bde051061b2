"""Requests on the wire, also through proxies and TLS."""

from __future__ import annotations

import base64
import gc
import warnings
from typing import TYPE_CHECKING

import pytest

from rescalehtc import HtcSession, api, htcprojects
from rescalehtc.exceptions import HtcConnectionError

from .service import Answer, Service

if TYPE_CHECKING:
    from pathlib import Path

PROJECTS = "GET /htc/projects"


def listed(base_url: str) -> list[str]:
    """The ids of the projects at a base URL."""
    with HtcSession(api_key="key", base_url=base_url, max_retries=0) as rescale:
        return [project.json["projectId"] for project in htcprojects.get_projects(rescale)]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_gets_whole_addresses_its_password_and_the_service_s_name(
    service: Service, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, service.origin.replace("://", "://user:p%40ss@"))
    service.on(PROJECTS, Answer({"items": [{"projectId": "p"}]}))
    assert listed("http://htc.example/api/v1") == ["p"]
    [request] = service.requests_to(PROJECTS)
    assert request.target.startswith("http://htc.example/api/v1/htc/projects?pageSize=")
    assert request.headers["host"] == "htc.example"
    value = base64.b64encode(b"user:p@ss").decode()
    assert request.headers["proxy-authorization"] == f"Basic {value}"


def test_a_port_that_is_not_the_usual_one_is_named_as_host(service: Service) -> None:
    service.on(PROJECTS, Answer({"items": []}))
    assert listed(service.url) == []
    [request] = service.requests_to(PROJECTS)
    assert request.headers["host"] == service.origin.removeprefix("http://")
    assert request.headers["accept-encoding"] == "gzip"
    assert "content-length" not in request.headers


@pytest.mark.parametrize(
    ("following", "target"),
    [("?q=a b\u00e9", "?q=a%20b%C3%A9"), ("?q=%C3%A9%2f&r=[1]", "?q=%C3%A9%2f&r=[1]")],
)
def test_an_address_of_the_service_is_quoted_where_it_must_be(
    service: Service, following: str, target: str
) -> None:
    page = {"items": [{"projectId": "p"}], "next": f"{service.url}/htc/projects{following}"}
    service.on(PROJECTS, Answer(page), Answer({"items": []}))
    assert listed(service.url) == ["p"]
    assert service.requests_to(PROJECTS)[1].target == f"/api/v1/htc/projects{target}"


def test_a_request_with_a_body_says_how_long_it_is(service: Service) -> None:
    service.on("POST /htc/projects", Answer({"projectId": "p"}))
    with HtcSession(api_key="key", base_url=service.url) as rescale:
        api.post_htc_projects(rescale, {"projectName": "\u00e9"})
    [request] = service.requests_to("POST /htc/projects")
    assert request.headers["content-length"] == str(len(request.body))
    assert request.json == {"projectName": "\u00e9"}


def test_https_needs_an_authority_that_the_environment_may_name(
    service: Service, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.speak_tls(certificate)
    service.on(PROJECTS, Answer({"items": [{"projectId": "p"}]}))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    url = service.url.replace("http:", "https:")
    with pytest.raises(HtcConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        listed(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert listed(url) == ["p"]
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[1]))
    with pytest.raises(HtcConnectionError, match="no connection can be set up"):
        listed(url)


def test_a_session_that_nobody_closes_closes_its_connections(service: Service) -> None:
    """Like in a program for 1.1.0."""
    service.on("GET /htc/projects", Answer({"items": []}))
    with warnings.catch_warnings(record=True) as errors:
        warnings.simplefilter("always")
        rescale = HtcSession(api_key="key-1", base_url=service.url)
        assert htcprojects.get_projects(rescale) == []
        del rescale
        gc.collect()
    port = service.url.rsplit(":", 1)[1].split("/")[0]
    assert [str(item.message) for item in errors if port in str(item.message)] == []
