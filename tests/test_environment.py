"""Environment variables: proxies, exceptions from them, certificates, and empty variables."""

from __future__ import annotations

import errno
import pickle
from typing import TYPE_CHECKING

import pytest

from rescalehtc import HtcSession, htcprojects
from rescalehtc._environment import proxy_for, tls_context
from rescalehtc.exceptions import (
    HtcConfigurationError,
    HtcConnectionError,
    HtcCredentialsError,
    HtcException,
    HtcTimeoutError,
    HtcValidationError,
)

from .limits import HANG_SECONDS
from .service import Answer, Service

if TYPE_CHECKING:
    from pathlib import Path

PROJECTS = "GET /htc/projects"
PROXY = "http://proxy.example:3128"
SECRET = "s3cr3t-passw0rd"


def listed(base_url: str) -> list[str]:
    with HtcSession(api_key="key", base_url=base_url) as rescale:
        return [project.json["projectId"] for project in htcprojects.get_projects(rescale)]


# ---- which proxy


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, "https_proxy"),
        ({"https_proxy": " ", "HTTPS_PROXY": PROXY}, "HTTPS_PROXY"),
        ({"HTTPS_PROXY": f" {PROXY}\r\n"}, "HTTPS_PROXY"),
        ({"http_proxy": "http://other:1", "ALL_PROXY": PROXY}, "ALL_PROXY"),
        ({"https_proxy": "", "all_proxy": PROXY}, "all_proxy"),
        ({"HTTPS_PROXY": PROXY, "no_proxy": "", "NO_PROXY": "other.example"}, "HTTPS_PROXY"),
    ],
)
def test_the_first_variable_that_is_not_empty_names_the_proxy(
    environ: dict[str, str], name: str
) -> None:
    found = proxy_for("https://htc.example/api", environ)
    assert found is not None
    assert (found.variable, found.address) == (name, PROXY)


def test_a_proxy_without_a_scheme_is_an_http_proxy() -> None:
    found = proxy_for("https://htc.example", {"https_proxy": "proxy.example:3128"})
    assert found is not None
    assert found.address == PROXY


def test_a_cgi_script_ignores_the_variable_that_its_clients_can_set() -> None:
    environ = {"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}
    assert proxy_for("http://htc.example", environ) is None
    assert proxy_for("http://htc.example", {**environ, "http_proxy": PROXY}) is not None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.0.1", "[::1]"])
def test_no_proxy_is_used_for_this_machine(host: str) -> None:
    assert proxy_for(f"http://{host}:8080", {"http_proxy": PROXY}) is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("*", "https://htc.example"),
        ("other, *", "https://htc.example"),
        ("htc.example", "https://htc.example"),
        ("HTC.Example", "https://htc.example"),
        ("htc.example", "https://HTC.EXAMPLE./api"),
        ("example", "https://htc.example"),
        (".example", "https://htc.example"),
        (".htc.example", "https://htc.example"),
        ("*.example", "https://htc.example"),
        ("one.example,\n  htc.example\t,", "https://htc.example"),
        ("one.example htc.example", "https://htc.example"),
        ("htc.example:8443", "https://htc.example:8443"),
        ("htc.example:443", "https://htc.example"),
        ("htc.example:80", "http://htc.example"),
        (".example:443", "https://htc.example"),
        ("10.1.2.3", "https://10.1.2.3:9"),
        ("10.1.2.3:9", "https://10.1.2.3:9"),
        ("10.0.0.0/8", "https://10.1.2.3"),
        ("10.0.0.1/255.0.0.0", "https://10.1.2.3"),
        ("10.0.0.0/8:443", "https://10.1.2.3"),
        ("fd00::1", "https://[fd00::1]"),
        ("[fd00::1]", "https://[fd00:0:0::1]:9"),
        ("[fd00::1]:9", "https://[fd00::1]:9"),
        ("fd00::/8", "https://[fd12::7]"),
        ("[fd00::]/8", "https://[fd12::7]"),
    ],
)
def test_no_proxy_exempts(no_proxy: str, url: str) -> None:
    for proxy, exempt in (("https_proxy", "no_proxy"), ("HTTPS_PROXY", "NO_PROXY")):
        names = {proxy: PROXY, proxy.replace("https", "http").replace("HTTPS", "HTTP"): PROXY}
        assert proxy_for(url, names) is not None
        assert proxy_for(url, {**names, exempt: no_proxy}) is None


@pytest.mark.parametrize(
    ("no_proxy", "url"),
    [
        ("", "https://htc.example"),
        (" , ,", "https://htc.example"),
        (".", "https://htc.example"),
        ("tc.example", "https://htc.example"),
        ("a.htc.example", "https://htc.example"),
        ("htc.example.org", "https://htc.example"),
        ("htc.example:8443", "https://htc.example"),
        ("htc.example:443", "https://htc.example:8443"),
        ("10.1.2.3:80", "https://10.1.2.3"),
        ("10.0.0.0/8", "https://11.1.2.3"),
        ("10.0.0.0/8", "https://htc.example"),
        ("0.0.0.0/0", "https://[fd00::1]"),
        ("fd00::/8", "https://[fe80::1]"),
        ("[fd00::1]:9", "https://[fd00::1]"),
        ("10.0.0.0/99", "https://10.1.2.3"),
    ],
)
def test_no_proxy_does_not_exempt(no_proxy: str, url: str) -> None:
    assert proxy_for(url, {"https_proxy": PROXY, "no_proxy": no_proxy}) is not None


def test_a_lower_case_no_proxy_wins_and_an_empty_one_is_not_set() -> None:
    environ = {"https_proxy": PROXY, "NO_PROXY": "htc.example"}
    assert proxy_for("https://htc.example", {**environ, "no_proxy": "other"}) is not None
    assert proxy_for("https://htc.example", {**environ, "no_proxy": " "}) is None


def test_requests_obey_no_proxy(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in 1.1.0, NO_PROXY may have networks. Without it, the request would go to the proxy."""
    monkeypatch.setenv("http_proxy", service.origin)
    service.on(PROJECTS, Answer({"items": [{"projectId": "p"}]}))
    assert listed("http://htc.example:8080") == ["p"]
    monkeypatch.setenv("no_proxy", "htc.example:80")
    assert listed("http://htc.example:8080") == ["p"]
    count = len(service.requests)
    monkeypatch.setenv("no_proxy", "192.0.2.0/24")
    with (
        HtcSession(
            api_key="key", base_url="http://192.0.2.1:8080", max_retries=0, timeout_seconds=0.05
        ) as rescale,
        pytest.raises(HtcConnectionError),
    ):
        htcprojects.get_projects(rescale)
    assert len(service.requests) == count


# ---- invalid settings


@pytest.mark.parametrize(
    "address",
    [
        f"http://user:{SECRET}@proxy:99999",
        f"http://user:{SECRET}@proxy:0",
        f"http://user:{SECRET}@proxy:port",
        f"ftp://user:{SECRET}@proxy:21",
        f"user:{SECRET}@proxy:abc",
        f"http://user:{SECRET}#x@proxy:3128",
        f"http://user:{SECRET}@",
        f"http://user:{SECRET}@pro xy:3128",
        f"http://user:{SECRET}@[::1:3128",
        f"http://user:{SECRET}@pröxy:3128",
        f"://{SECRET}",
        f"socks5://user:{SECRET}@proxy:1080",
    ],
)
@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_an_invalid_proxy_is_one_error_that_names_its_variable_and_hides_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, address: str
) -> None:
    if address.startswith("socks5"):
        monkeypatch.setattr("rescalehtc._environment.find_spec", lambda name: None)
    monkeypatch.setenv(name, address)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it was retried"))
    with (
        HtcSession(api_key="key", base_url="https://htc.example", timeout_seconds=5) as rescale,
        pytest.raises(HtcException) as info,
    ):
        htcprojects.get_projects(rescale)
    assert isinstance(info.value, HtcConfigurationError)
    assert f"{name} " in str(info.value)
    assert SECRET not in repr(info.value)
    assert not info.value.outcome_unknown
    assert info.value.__context__ is None


@pytest.mark.parametrize(
    "name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
)
@pytest.mark.parametrize("kind", ["missing", "not certificates", "NUL"])
def test_invalid_certificates_are_one_error_that_names_the_variable_and_hides_its_value(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, kind: str
) -> None:
    path = tmp_path / "secret-place"
    if kind == "not certificates":
        path.write_text("no certificates")
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it was retried"))
    if kind == "NUL":  # os.environ can't contain NUL
        with pytest.raises(ValueError, match=name) as wrong:
            tls_context({name: "\0secret-place"})
        assert "secret-place" not in str(wrong.value)
        return
    monkeypatch.setenv(name, str(path))
    with (
        HtcSession(api_key="key", base_url="https://htc.example") as rescale,
        pytest.raises(HtcConfigurationError, match=f"no connection can be set up: {name} ") as info,
    ):
        htcprojects.get_projects(rescale)
    assert "secret-place" not in str(info.value)


@pytest.mark.parametrize(
    "address", ["http://h:0", "http://h:99999", "http://h:x", "h:80", "http://a\nb"]
)
def test_a_wrong_base_url_names_the_variable(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RESCALE_API_BASE_URL", address)
    with pytest.raises(HtcValidationError, match="RESCALE_API_BASE_URL: must be a URL"):
        HtcSession(api_key="key")


# ---- certificates


def test_certificate_variables_have_an_order_and_empty_ones_are_not_set(
    certificate: tuple[Path, Path],
) -> None:
    path, wrong = str(certificate[0]), "/does/not/exist"
    names = ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
    assert tls_context({}) is None
    assert tls_context(dict.fromkeys(names, " ")) is None
    for index, name in enumerate(names):
        right = str(certificate[0].parent) if name == "SSL_CERT_DIR" else path
        environ = {**dict.fromkeys(names[:index], ""), **dict.fromkeys(names[index:], wrong)}
        assert tls_context({**environ, name: right}) is not None
        with pytest.raises(ValueError, match=name):
            tls_context(environ)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_1_1_0_s_variables_name_the_authorities(
    service: Service,
    certificate: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    service.speak_tls(certificate)
    service.on(PROJECTS, Answer({"items": [{"projectId": "p"}]}))
    for other in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(other, "")
    monkeypatch.setenv(name, f" {certificate[0]}\n")
    assert listed(service.url.replace("http:", "https:")) == ["p"]


def test_an_https_proxy_is_checked_against_the_same_authorities(
    service: Service, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    service.speak_tls(certificate)
    service.on(PROJECTS, Answer({"items": [{"projectId": "p"}]}))
    monkeypatch.setenv("http_proxy", service.origin.replace("http:", "https:"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert listed("http://htc.example/api/v1") == ["p"]


# ---- empty variables and whitespace


@pytest.mark.parametrize("empty", ["", " ", "\r\n"])
def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, empty: str) -> None:
    for name in ("RESCALE_HTC_REFRESH_TOKEN", "RESCALE_API_KEY", "RESCALE_API_BASE_URL"):
        monkeypatch.setenv(name, empty)
    with pytest.raises(HtcCredentialsError, match="no API key or refresh token was found"):
        HtcSession()
    monkeypatch.setenv("RESCALE_API_TOKEN", "key")
    assert HtcSession().base_url == "https://htc.rescale.com/api/v1"


def test_whitespace_around_a_base_url_is_stripped(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.on(PROJECTS, Answer({"items": [{"projectId": "p"}]}))
    assert listed(f" \t{service.url}/ \r\n") == ["p"]
    monkeypatch.setenv("RESCALE_API_BASE_URL", f"{service.url}\r\n")
    assert HtcSession(api_key="key").base_url == service.url


# ---- connection errors are OSErrors


def test_a_connection_error_is_an_os_error_with_its_own_text(service: Service) -> None:
    """requests' exceptions, which 1.1.0 raised, were OSErrors too."""
    service.on(PROJECTS, Answer(b"{", headers={"Content-Length": "100", "Connection": "close"}))
    with (
        HtcSession(
            api_key="key", base_url=service.url, max_retries=0, timeout_seconds=HANG_SECONDS
        ) as rescale,
        pytest.raises(OSError, match="listProjects") as info,
    ):
        htcprojects.get_projects(rescale)
    assert isinstance(info.value, HtcConnectionError)
    assert isinstance(info.value, ConnectionError)


@pytest.mark.parametrize(
    "error",
    [
        HtcConnectionError("it broke", request_sent=False),
        HtcTimeoutError("it took too long", request_sent=False),
        HtcConfigurationError("X is wrong", request_sent=False),
    ],
)
def test_os_error_s_own_fields_stay_out_of_the_way(error: HtcConnectionError) -> None:
    assert isinstance(error, TimeoutError) == isinstance(error, HtcTimeoutError)
    assert (error.errno, error.strerror, error.filename) == (None, None, None)
    assert error.errno not in errno.errorcode
    error.outcome_unknown = True
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.args) == (str(error), error.args) == (str(error), (str(error),))
    assert repr(again) == repr(error) == f"{type(error).__name__}({str(error)!r})"
    assert (again.request_sent, again.status_code, again.outcome_unknown) == (False, None, True)
