import time

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


def test_a_token_of_another_use_another_key_or_none_is_refused():
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
