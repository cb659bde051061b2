"""Reading bearer tokens."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescalehtc.bearer_token import BearerToken, token_from_str
from rescalehtc.exceptions import HtcException


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
def test_what_is_no_token_is_an_htc_exception_that_does_not_show_it(text: str) -> None:
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
