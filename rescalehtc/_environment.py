"""Environment variables for the service, the credential, proxies and certificates."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urljoin, urlsplit

from ._interrupts import is_from_signal_handler, suppressed
from ._secret import Secret
from ._url import is_loopback, origin

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

BASE_URL_VARIABLE = "RESCALE_API_BASE_URL"
REFRESH_TOKEN_VARIABLE = "RESCALE_HTC_REFRESH_TOKEN"  # noqa: S105 - a variable's name
API_KEY_VARIABLES = ("RESCALE_API_KEY", "RESCALE_API_TOKEN")
PROFILE_VARIABLE = "RESCALEHTC_PROFILE"
PROJECT_VARIABLE = "RESCALEHTC_PROJECT"
TASK_VARIABLE = "RESCALEHTC_TASK"
INDEX_VARIABLE = "RESCALEHTC_INDEX"  # of a retry, with the index of the first job
STATUS_REFRESH_VARIABLE = "RESCALEHTC_STATUS_REFRESH_SECONDS"
# The service refreshes a status every 30 s. On the emulator one may change within milliseconds.
EMULATOR_REFRESH_SECONDS = 0.2
STORAGE_ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL_S3"
# With it, AWS's clients ignore the endpoint.
NO_ENDPOINT_VARIABLE = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


def variable(environ: Mapping[str, str], name: str) -> str | None:
    """Return a variable without surrounding whitespace. None if it is unset or empty."""
    return Secret(environ.get(name, "").strip()) or None


def variables_for(base_url: str, api_key: str) -> dict[str, str | None]:
    """Return the variables that connect every session and command to an emulator.

    They include all variables that select a service, a credential or a storage, and the polling
    interval. None means that the variable must not be set.
    """
    return {
        BASE_URL_VARIABLE: base_url,
        API_KEY_VARIABLES[0]: api_key,
        STORAGE_ENDPOINT_VARIABLE: urljoin(base_url, "/").rstrip("/"),
        **dict.fromkeys(API_KEY_VARIABLES[1:]),
        **dict.fromkeys((NO_ENDPOINT_VARIABLE, REFRESH_TOKEN_VARIABLE)),
        **dict.fromkeys((PROFILE_VARIABLE, PROJECT_VARIABLE, TASK_VARIABLE)),
        STATUS_REFRESH_VARIABLE: str(EMULATOR_REFRESH_SECONDS),
    }


def process_environment(variables: Mapping[str, str | None] = {}) -> dict[str, str]:
    """Return the environment of this process, with the variables set, or removed if they are None.

    Unlike `dict(os.environ)`, this does not fail if another thread removes a variable.
    """
    merged = {**{name: os.environ.get(name) for name in os.environ}, **variables}
    return {name: value for name, value in merged.items() if value is not None}


class Proxy(NamedTuple):
    """A proxy, and the variable that sets it."""

    variable: str
    address: str

    def error(self) -> ValueError:
        """Return an error that does not show the URL, which may contain a password."""
        return ValueError(
            f"{self.variable} must be the URL of a proxy, such as http://proxy.example:3128; "
            "its value is not shown here"
        )


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a URL. None for a direct connection.

    Lower-case variables override upper-case ones. On macOS and Windows, the system's settings apply
    if no variable is set.

    Raises:
        ValueError: The proxy's URL is invalid, or SOCKS is not installed.
    """
    scheme, host, port = origin(url)
    no_proxy = variable(environ, "no_proxy") or variable(environ, "NO_PROXY") or ""
    if is_loopback(host) or _is_exempt(host, port, no_proxy):
        return None
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
        if name == "HTTP_PROXY" and "REQUEST_METHOD" in environ:
            continue  # in a CGI script, the header `Proxy` of a client sets it
        if address := variable(environ, name):
            return _checked_proxy(name, address)
    if sys.platform in ("darwin", "win32"):
        from urllib.request import getproxies, proxy_bypass

        address = None if proxy_bypass(host) else getproxies().get(scheme)
        return _checked_proxy("the system's proxy setting", address) if address else None
    return None


def _checked_proxy(name: str, address: str) -> Proxy:
    proxy = Proxy(name, Secret(address if "://" in address else f"http://{address}"))
    valid = False
    with suppressed(ValueError):  # the port is not a number, or out of range
        parts = urlsplit(proxy.address)
        valid = bool(
            parts.scheme in _PROXY_SCHEMES
            and parts.hostname
            and parts.port != 0
            and proxy.address.isascii()
            and proxy.address.isprintable()
            and " " not in proxy.address
            and not (parts.path.strip("/") or parts.query or parts.fragment)
        )
    if not valid:
        raise proxy.error()
    if proxy.address.startswith("socks5") and find_spec("socksio") is None:
        raise ValueError(
            f'{name} is a SOCKS proxy, which needs more packages: pip install "httpx[socks]"'
        )
    return proxy


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Whether an entry of NO_PROXY matches a host: its name, its domain, its network, or `*`."""
    entries = filter(None, re.split(r"[\s,]+", no_proxy))
    return any(_matches(entry.lower(), host.rstrip("."), port) for entry in entries)


def _matches(entry: str, host: str, port: int) -> bool:
    network = _network(entry)  # first, because an IPv6 address contains colons
    if network is None and (parts := re.fullmatch(r"(.+):([0-9]+)", entry)):
        entry, network = parts[1], _network(parts[1])
        if int(parts[2]) != port:
            return False
    address = _network(host)
    if network is not None:
        return address is not None and address.network_address in network
    domain = entry.removeprefix("*").strip(".")
    return entry == "*" or (bool(domain) and f".{host}".endswith(f".{domain}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    with suppressed(ValueError):
        return ipaddress.ip_network(re.sub(r"^\[(.*)\](/[0-9]+)?$", r"\1\2", text), strict=False)
    return None


def tls_context(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return an SSL context with the certificates of a variable. None if no variable is set.

    Raises:
        ValueError: The certificates can't be read.
    """
    import ssl

    for name in CERTIFICATE_VARIABLES:
        path = variable(environ, name)
        if path is None:
            continue
        is_folder = name != "SSL_CERT_FILE" and any(map(os.path.isdir, path.split(os.pathsep)))
        if name == "SSL_CERT_DIR" and not is_folder:
            raise ValueError(f"{name} must be a folder of certificates; the folder does not exist")
        try:
            if is_folder:
                return ssl.create_default_context(capath=path)
            return ssl.create_default_context(cafile=path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            if is_from_signal_handler(error):
                raise
            reason = (isinstance(error, OSError) and error.strerror) or "it is not a path"
        raise ValueError(f"{name} must be a file of certificates (PEM): {reason}")
    return None
