"""Reading bearer tokens, and checking their signatures."""

from __future__ import annotations

import base64
import functools
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import HMACAlgorithm, RSAAlgorithm

from rescalehtc.bearer_token import BearerToken, token_from_str
from rescalehtc.exceptions import HtcException, HtcResponseError, HtcServerError

from .service import Answer, Service

if TYPE_CHECKING:
    from rescalehtc import HtcSession

KEYS = "GET /.well-known/jwks.json"


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text()))
def test_any_claims_are_read_whatever_their_length(claims: dict[str, object]) -> None:
    token = token_from_str(f"{encoded({'alg': 'none'})}.{encoded(claims)}.signature")
    assert token.payload == claims
    assert token.header == {"alg": "none"}
    user_claims = {f"userDefined_{name}": value for name, value in claims.items()}
    assert BearerToken({}, user_claims, "").get_user_claims() == claims


@given(st.text() | st.text("abcXYZ09-_.=", max_size=20).map(lambda t: f"{t}.{t}.{t}"))
def test_an_invalid_token_is_an_htc_exception_that_does_not_show_it(text: str) -> None:
    with pytest.raises(HtcException, match="not a bearer token") as info:
        token_from_str(text)
    assert len(text) < 4 or text not in str(info.value)


def test_the_token_is_not_in_its_repr() -> None:
    """In 1.1.0 it is."""
    text = f"{encoded({})}.{encoded({'userEmail': 'a@b', 'userDefined_x': 's3cret'})}.signature"
    shown = repr(token_from_str(text))
    assert "signature" not in shown
    assert "s3cret" not in shown
    assert "userEmail" in shown


# ---- signatures


@functools.cache
def private_key(name: str = "the service's", bits: int = 2048) -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=bits)


def published(key: RSAPrivateKey | None = None, **fields: object) -> dict[str, object]:
    """A key in the service's format."""
    jwk = RSAAlgorithm.to_jwk((key or private_key()).public_key(), as_dict=True)
    return {"kty": "RSA", "n": jwk["n"], "e": jwk["e"], "use": "sig", "alg": "RS256", **fields}


LONG_AGO = 1_000_000_000  # in 2001
FAR_AHEAD = 10_000_000_000  # in 2286


def in_an_hour() -> int:
    return int(time.time()) + 3600


def signed(
    key: Any = None, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **claims: Any
) -> BearerToken:
    payload = {"exp": in_an_hour(), "userEmail": "a@b", **claims}
    present = {name: value for name, value in payload.items() if value is not None}
    return token_from_str(jwt.encode(present, key or private_key(), algorithm, headers))


@pytest.mark.parametrize("name", ["keys", "jsonWebKeys"])
def test_a_token_that_the_service_signed_is_verified(
    service: Service, scripted: HtcSession, name: str
) -> None:
    service.on(KEYS, Answer({name: [published()]}))
    signed().verify(scripted)
    assert "authorization" not in service.requests_to(KEYS)[0].headers


def test_claims_that_others_interpret_are_let_be(service: Service, scripted: HtcSession) -> None:
    service.on(KEYS, Answer({"keys": [published()]}))
    signed(aud="someone", iss="x", sub=7, jti=8, iat=in_an_hour()).verify(scripted)


def test_the_key_is_found_among_others_and_junk(service: Service, scripted: HtcSession) -> None:
    another = published(private_key("another"))
    junk = [None, "x", {}, {"kty": "EC"}, {"kty": "RSA", "n": 1, "e": 2}, {**another, "n": "!"}]
    keys = [*junk, another, published(kid="k1"), published(use="enc")]
    service.on(KEYS, Answer({"keys": keys, "jsonWebKeys": None}))
    signed().verify(scripted)
    signed(headers={"kid": "k1"}).verify(scripted)


def test_a_key_of_another_id_is_not_tried(service: Service, scripted: HtcSession) -> None:
    service.on(KEYS, Answer({"keys": [published(kid="k1")]}))
    with pytest.raises(HtcException, match="none of the keys"):
        signed(headers={"kid": "k2"}).verify(scripted)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": LONG_AGO}, "it has expired"),
        ({"exp": None}, "has no expiration time"),
        ({"exp": "tomorrow"}, "malformed"),
        ({"nbf": FAR_AHEAD}, "not valid yet"),
    ],
)
def test_a_token_that_is_over_or_has_no_end_is_rejected(
    service: Service, scripted: HtcSession, claims: dict[str, Any], reason: str
) -> None:
    service.on(KEYS, Answer({"keys": [published(), published(private_key("another"))]}))
    token = signed(**claims)
    with pytest.raises(HtcException, match=f"invalid: .*{reason}") as info:
        token.verify(scripted)
    assert token.encoded_token not in str(info.value)


def test_a_token_that_another_key_signed_is_rejected(
    service: Service, scripted: HtcSession
) -> None:
    service.on(KEYS, Answer({"keys": [published()]}))
    with pytest.raises(HtcException, match="none of the keys") as info:
        signed(private_key("another")).verify(scripted)
    assert scripted.base_url in str(info.value)


def test_a_changed_claim_is_noticed(service: Service, scripted: HtcSession) -> None:
    service.on(KEYS, Answer({"keys": [published()]}))
    token = signed()
    header, _, signature = token.encoded_token.split(".")
    forged = encoded({**token.payload, "userEmail": "other@b"})
    with pytest.raises(HtcException, match="none of the keys"):
        token_from_str(f"{header}.{forged}.{signature}").verify(scripted)
    token.payload["userEmail"] = "other@b"
    with pytest.raises(HtcException, match="changed after decoding"):
        token.verify(scripted)


def test_other_algorithms_are_rejected(service: Service, scripted: HtcSession) -> None:
    """Including the classic attack: the public key as the secret of a symmetric algorithm."""
    public = private_key().public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = f"{encoded({'alg': 'HS256'})}.{encoded({'exp': in_an_hour()})}"
    mac = HMACAlgorithm(HMACAlgorithm.SHA256).sign(body.encode(), pem)
    symmetric = f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
    unsigned = f"{encoded({'alg': 'none'})}.{encoded({'exp': in_an_hour()})}."
    service.on(KEYS, Answer({"keys": [published()]}))
    for text in (symmetric, unsigned, signed(algorithm="RS512").encoded_token):
        with pytest.raises(HtcException, match="not signed with RS256"):
            token_from_str(text).verify(scripted)


def test_a_key_that_is_too_short_proves_nothing(service: Service, scripted: HtcSession) -> None:
    key = private_key("short", 1024)
    service.on(KEYS, Answer({"keys": [published(key)]}))
    body = f"{encoded({'alg': 'RS256'})}.{encoded({'exp': in_an_hour()})}"
    algorithm = RSAAlgorithm(RSAAlgorithm.SHA256)
    signature = base64.urlsafe_b64encode(algorithm.sign(body.encode(), key)).decode().rstrip("=")
    with pytest.raises(HtcException, match="none of the keys"):
        token_from_str(f"{body}.{signature}").verify(scripted)


@pytest.mark.parametrize("answer", [{}, {"keys": []}, {"keys": "x"}, {"keys": {"kty": "RSA"}}, {"keys": [[]]}])  # fmt: skip
def test_without_a_published_key_nothing_is_verified(
    service: Service, scripted: HtcSession, answer: object
) -> None:
    service.on(KEYS, Answer(answer))
    with pytest.raises(HtcResponseError, match="getJsonWebKeys"):
        signed().verify(scripted)
    service.on(KEYS, Answer(status=500))
    with pytest.raises(HtcServerError):
        signed().verify(scripted)


@pytest.mark.parametrize("signature", ["", "!", "ü", "\ud800", "a" * 100_000])
def test_a_signature_that_is_none_is_rejected(
    service: Service, scripted: HtcSession, signature: str
) -> None:
    service.on(KEYS, Answer({"keys": [published()]}))
    start = signed().encoded_token.rpartition(".")[0]
    with pytest.raises(HtcException, match="is invalid"):
        token_from_str(f"{start}.{signature}").verify(scripted)


def test_numbers_that_make_no_key_are_passed_over(service: Service, scripted: HtcSession) -> None:
    for n in ("", "AA", "AQ", "_" * 4, "a" * 50_000):
        for e in ("", "AA", "AQ", "Ag", "AQAB", "a" * 5_000):
            service.on(KEYS, Answer({"keys": [{"kty": "RSA", "n": n, "e": e}]}))
            with pytest.raises(HtcException, match="none of the keys"):
                signed().verify(scripted)


def test_without_the_extra_it_is_named(
    scripted: HtcSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = signed()
    monkeypatch.setattr("jwt.algorithms.has_crypto", False)
    with pytest.raises(HtcException, match=r'pip install "rescalehtc\[verify\]>=2"'):
        token.verify(scripted)
    monkeypatch.setitem(sys.modules, "jwt.algorithms", None)
    with pytest.raises(HtcException, match=r'pip install "rescalehtc\[verify\]>=2"'):
        token.verify(scripted)
