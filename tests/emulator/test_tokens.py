import json
import time

import httpx
import jwt
import pytest

from rescalehtc import HtcSession
from rescalehtc.emulator import Emulator
from rescalehtc.emulator.tokens import BEARER_SECONDS, InvalidTokenError, Tokens, new_signing_key

KEY = new_signing_key()


def test_a_token_gives_back_its_claims_and_the_users():
    tokens = Tokens(KEY, 1.0)
    claims = tokens.read(tokens.issue({"userDefined_case": "7"}))
    assert claims["userDefined_case"] == "7"
    assert claims["userEmail"]
    assert claims["workspaceId"]
    assert claims["exp"] - claims["iat"] == BEARER_SECONDS == tokens.bearer_seconds


def test_a_token_of_another_use_another_key_or_none_is_rejected():
    tokens = Tokens(KEY, 1.0)
    refresh = tokens.issue({}, "refresh")
    assert tokens.read(refresh, "refresh")["tokenUse"] == "refresh"
    unsigned = jwt.encode({"tokenUse": "bearer", "iat": 0, "exp": 1 << 40}, "", algorithm="none")
    for wrong in (refresh, Tokens(new_signing_key(), 1.0).issue({}), unsigned, "", "a.b.c"):
        with pytest.raises(InvalidTokenError):
            tokens.read(wrong)
    with pytest.raises(InvalidTokenError):
        tokens.read(tokens.issue({}), "refresh")


def test_a_faster_clock_shortens_the_lifetime_and_says_so():
    assert Tokens(KEY, 3600.0).bearer_seconds == 6


def test_an_expired_token_is_answered_with_401(make_user, until):
    with Emulator(slots=1, clock_rate=BEARER_SECONDS) as emulator:
        user = make_user(emulator.url, emulator.api_key)
        expires = jwt.decode(user.token, options={"verify_signature": False})["exp"]
        answer = until(
            lambda: (got := user.http.get("/htc/projects")).status_code != 200 and got, "expired"
        )
        assert time.time() >= expires
        assert (answer.status_code, answer.content) == (401, b"")


def test_a_session_of_the_emulator_calls_it():
    with Emulator(slots=1) as emulator, emulator.session() as rescale:
        assert isinstance(rescale, HtcSession)
        assert rescale.base_url == emulator.url


def test_tokens_are_signed_with_the_published_key(emulator, user):
    answer = httpx.get(f"{emulator.url}/.well-known/jwks.json", verify=False)
    assert answer.status_code == 200
    (key,) = answer.json()["keys"]
    assert set(key) == {"kty", "kid", "alg", "use", "n", "e"}
    assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")
    refresh = user.output('printf %s "$RESCALE_HTC_REFRESH_TOKEN"')[0]
    for token in (user.token, refresh):
        assert jwt.get_unverified_header(token)["kid"] == key["kid"]
        public = jwt.PyJWK.from_json(json.dumps(key))
        assert jwt.decode(token, public, algorithms=["RS256"])["workspaceId"]
    assert Tokens(KEY, 1.0).key_set == Tokens(KEY, 1.0).key_set
    assert Tokens(KEY, 1.0).key_set != Tokens(new_signing_key(), 1.0).key_set


def test_an_oauth_token_is_as_good_as_any_bearer_token(emulator, user):
    refresh = user.output(
        'printf %s "$RESCALE_HTC_REFRESH_TOKEN"', claims=[{"name": "case", "value": "7"}]
    )[0]
    for credential, case in ((f"Token {emulator.api_key}", None), (f"Refresh {refresh}", "7")):
        headers = {"Authorization": credential}
        answer = user.http.post("/oauth2/token", headers=headers)
        assert answer.status_code == 200
        assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("Bearer", 21600)
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        claims = user.http.get("/auth/token/whoami", headers=bearer).json()
        assert claims.get("userDefined_case") == case


@pytest.mark.parametrize("header", ["Token wrong", "Token", "Bearer x", "Refresh x", "", "Basic x"])
def test_an_oauth_token_is_not_had_for_a_wrong_credential(user, header):
    answer = user.http.post("/oauth2/token", headers={"Authorization": header})
    assert (answer.status_code, answer.content) == (401, b"")
