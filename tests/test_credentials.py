"""Bearer tokens are cached and renewed by one process at a time, for any lifetime."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import sys
import tempfile
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescalehtc import HtcSession
from rescalehtc._client.credentials import Credential, write_private
from rescalehtc._client.io import BlockingIo, run
from rescalehtc._client.tokens import LOCK_WAIT_SECONDS, TokenSource
from rescalehtc._client.transport import Transport
from rescalehtc.exceptions import HtcCredentialsError, HtcException, HtcResponseError

from .clock import TestIo, inject_clock
from .limits import HANG_SECONDS
from .programs import PIPE, Process
from .service import TOKEN, Answer, ReceivedRequest, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKENS = "GET /auth/token"


@pytest.fixture
def folder(empty_home: Path) -> Path:
    """The default workspace's folder with a key."""
    folder = empty_home / ".config" / "rescalehtc" / "default"
    folder.mkdir(parents=True)
    (folder / "rescale_api_token.txt").write_text("file-key\n")
    return folder


@pytest.fixture
def rescale(service: Service, folder: Path) -> Iterator[HtcSession]:
    with HtcSession(base_url=service.url) as rescale:
        yield rescale


@pytest.fixture
def numbered(service: Service) -> Service:
    """A service that issues a new token each time: token-1, token-2, …"""

    def answer(request: ReceivedRequest) -> Answer:
        number = len(service.requests_to(TOKENS))
        return Answer({"tokenValue": f"token-{number}", "expiresIn": 21600})

    service.on(TOKENS, answer)
    return service


def keep(folder: Path, seconds: float, **fields: object) -> Path:
    """Write the token file in the format of 1.1.0."""
    path = folder / "rescale_bearer_token.json"
    expires_at = (datetime.now() + timedelta(seconds=seconds)).isoformat()
    stored = {"tokenValue": "kept", "expiresIn": 21600, "expiresAt": expires_at, **fields}
    path.write_text(json.dumps(stored))
    return path


def token(rescale: HtcSession) -> str:
    """The token that the session uses now."""
    return rescale.run(rescale.client.tokens.get())


def renewals(service: Service) -> int:
    return len(service.requests_to(TOKENS))


def python(program: str) -> Process:
    return Process([sys.executable, "-c", program], stdin=PIPE)


# ---- between processes


def test_eight_processes_that_start_at_an_expired_token_renew_it_once(
    service: Service, folder: Path
) -> None:
    keep(folder, -10)

    def slowly(request: ReceivedRequest) -> Answer:
        time.sleep(0.5)  # long enough for all of them to need a token
        return Answer({"tokenValue": f"token-{renewals(service)}", "expiresIn": 21600})

    service.on(TOKENS, slowly)
    program = (
        "from rescalehtc import HtcSession, api\n"
        "import httpx, pydantic_core\n"
        f"rescale = HtcSession(base_url={service.url!r})\n"
        "print('ready', flush=True); input()\n"
        "print(rescale.run(rescale.client.tokens.get()))\n"
    )
    processes = [python(program) for _ in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=HANG_SECONDS)[0] for process in processes] == [
        "token-1\n"
    ] * 8
    assert renewals(service) == 1


def test_a_killed_lock_holder_does_not_block_others(
    service: Service, folder: Path, rescale: HtcSession
) -> None:
    program = (
        "import fcntl, os, sys\n"
        f"fcntl.flock(os.open({str(folder / 'rescale_api_token.txt')!r}, os.O_RDWR), fcntl.LOCK_EX)\n"
        "print('locked', flush=True); input()\n"
    )
    holder = python(program)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    waiting = threading.Thread(target=token, args=[rescale])
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    assert renewals(service) == 0
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    waiting.join(HANG_SECONDS)
    assert not waiting.is_alive()
    assert renewals(service) == 1


def test_a_lock_that_is_never_given_back_is_waited_for_a_bounded_time(
    service: Service, folder: Path, rescale: HtcSession
) -> None:
    clock = inject_clock(rescale)
    with (folder / "rescale_api_token.txt").open() as key_file:
        fcntl.flock(key_file, fcntl.LOCK_EX)
        assert token(rescale) == "token-1"
    assert sum(clock.slept) == pytest.approx(LOCK_WAIT_SECONDS, abs=1)


def test_a_child_forked_during_a_renewal_does_not_keep_the_lock() -> None:
    program = (
        "import fcntl, os, pathlib, tempfile\n"
        "from rescalehtc._client.io import BlockingIo, run\n"
        "from rescalehtc._client.tokens import _file_lock\n"
        "from rescalehtc._client.transport import Transport\n"
        "path = pathlib.Path(tempfile.mkstemp()[1])\n"
        "end, write = os.pipe()\n"
        "async def fork():\n"
        "    async with _file_lock(path, BlockingIo(Transport())):\n"
        "        if os.fork() == 0:\n"
        "            os.read(end, 1); os._exit(0)\n"
        "run(fork())\n"
        "with path.open() as file:\n"
        "    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "    print('free')\n"
        "os.write(write, b'.'); os.wait(); path.unlink()\n"
    )
    assert python(program).communicate(timeout=HANG_SECONDS)[0] == "free\n"


def test_without_locks_it_works_all_the_same(
    service: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with HtcSession(base_url=service.url) as rescale:
        assert token(rescale) == "token-1"
    assert (folder / "rescale_bearer_token.json").exists()


def test_a_token_that_another_process_renewed_is_used_when_ours_is_rejected(
    numbered: Service, folder: Path, rescale: HtcSession
) -> None:
    assert token(rescale) == "token-1"
    with HtcSession(base_url=numbered.url) as another:
        another.do_authenticate()
    assert rescale.run(rescale.client.tokens.renew(refused="token-1")) == "token-2"
    assert renewals(numbered) == 2


def test_an_older_token_in_the_file_does_not_stand_in_for_a_rejected_one(
    numbered: Service, folder: Path, rescale: HtcSession
) -> None:
    rescale.do_authenticate()
    # An older token, from another process or a backup.
    keep(folder, 20000, baseUrl=numbered.url)
    assert rescale.run(rescale.client.tokens.renew(refused="token-1")) == "token-2"
    assert rescale.run(rescale.client.tokens.renew(refused="token-2")) == "token-3"


def test_authenticating_asks_whatever_is_kept(
    numbered: Service, folder: Path, rescale: HtcSession
) -> None:
    keep(folder, 20000, baseUrl=numbered.url)
    rescale.do_authenticate()
    assert token(rescale) == "token-1"


def test_a_reader_never_sees_a_torn_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = [json.dumps("x" * size) for size in (1, 100_000)]
    write_private(path, texts[0])
    done = threading.Event()

    def write() -> None:
        for number in range(100):
            write_private(path, texts[number % 2])
        done.set()

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    while not done.is_set():
        assert path.read_text() in texts
    for writer in writers:
        writer.join()
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


# ---- files


@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_token_file_is_the_owner_s_whatever_the_umask(
    service: Service, folder: Path, rescale: HtcSession, umask: int
) -> None:
    keep(folder, -10).chmod(0o644)  # left by an interrupted 1.1.0
    before = os.umask(umask)
    try:
        token(rescale)
    finally:
        os.umask(before)
    mode = (folder / "rescale_bearer_token.json").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_token_is_kept_beside_its_key_even_if_default_is_linked_to_another_workspace(
    numbered: Service, folder: Path, rescale: HtcSession
) -> None:
    config = folder.parent
    for name in ("acme", "other"):
        (config / name).mkdir()
        (config / name / "rescale_api_token.txt").write_text(f"{name}-key")
    default = config / "link"
    default.symlink_to("acme")
    with HtcSession("link", base_url=numbered.url) as rescale:
        default.unlink()
        default.symlink_to("other")
        assert token(rescale) == "token-1"
    assert (config / "acme" / "rescale_bearer_token.json").exists()
    assert not (config / "other" / "rescale_bearer_token.json").exists()
    assert default.is_symlink()


def test_a_token_of_another_key_is_passed_over(numbered: Service, folder: Path) -> None:
    """In 1.1.0, a new key in the file has no effect until the old key's token expires."""
    for key, expected in (("a", "token-1"), ("b", "token-2"), ("b", "token-2")):
        (folder / "rescale_api_token.txt").write_text(key)
        with HtcSession(base_url=numbered.url) as rescale:
            assert token(rescale) == expected
    assert '"b"' not in (folder / "rescale_bearer_token.json").read_text()


def a_folder_in_place_of_the_token_file(folder: Path) -> None:
    (folder / "rescale_bearer_token.json").mkdir()


def a_file_in_place_of_the_folder(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.write_text("")


def nothing_in_place_of_the_folder(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


@pytest.mark.parametrize(
    "happens",
    [
        a_folder_in_place_of_the_token_file,
        a_file_in_place_of_the_folder,
        nothing_in_place_of_the_folder,
    ],
)
def test_where_no_token_can_be_kept_the_session_continues_and_leaves_nothing(
    service: Service, folder: Path, rescale: HtcSession, happens: Callable[[Path], None]
) -> None:
    happens(folder)
    assert token(rescale) == "token-1"
    assert token(rescale) == "token-1"
    assert renewals(service) == 1
    assert not list(folder.parent.rglob(".*"))


def test_a_read_only_home_is_tolerated(service: Service) -> None:
    """Permissions do not apply to root, so a process of root drops its privileges first."""
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        folder = Path(temporary) / "default"
        folder.mkdir()
        key_file = folder / "rescale_api_token.txt"
        key_file.write_text("file-key")
        for path, mode in ((key_file, 0o444), (folder, 0o555), (Path(temporary), 0o755)):
            path.chmod(mode)
        program = (
            "import os\n"
            "from rescalehtc import HtcSession\n"
            f"HtcSession(api_key='k', base_url={service.url!r}).do_authenticate()\n"
            "if os.geteuid() == 0:\n"
            "    os.seteuid(65534)\n"
            f"assert not os.access({str(folder)!r}, os.W_OK, effective_ids=True)\n"
            f"rescale = HtcSession('default', {temporary!r}, base_url={service.url!r})\n"
            "print(rescale.run(rescale.client.tokens.get()), rescale.run(rescale.client.tokens.get()))\n"
        )
        assert python(program).communicate(timeout=HANG_SECONDS)[0] == "token-1 token-1\n"
        assert [path.name for path in folder.iterdir()] == ["rescale_api_token.txt"]
        folder.chmod(0o755)
    assert service.requests_to(TOKENS)[-1].headers["authorization"] == "Token file-key"
    assert renewals(service) == 2


@pytest.mark.parametrize("workspace", ["a\0b", "x" * 5000])
def test_an_impossible_workspace_is_an_htc_exception(workspace: str) -> None:
    with pytest.raises(HtcCredentialsError, match="can't be read"):
        HtcSession(workspace)


def test_pipes_do_not_hang(service: Service, folder: Path) -> None:
    os.mkfifo(folder / "rescale_bearer_token.json")
    with HtcSession(base_url=service.url) as rescale:
        assert rescale.run(rescale.client.tokens.get()) == TOKEN["tokenValue"]
    (folder / "rescale_api_token.txt").unlink()
    os.mkfifo(folder / "rescale_api_token.txt")
    with pytest.raises(HtcCredentialsError, match="can't be read: it is not a regular file"):
        HtcSession(base_url=service.url)


# ---- lifetimes


@pytest.mark.parametrize(
    ("lifetime", "count"),
    [
        ("600", 1),
        ("86400", 1),
        ("600.5", 1),
        ("Infinity", 1),
        ("1e300", 1),
        pytest.param("1" + "0" * 400, 1, id="huge"),
        ("0", 3),
        ("-600", 3),
        ("-Infinity", 3),
        ("NaN", 3),
    ],
)
def test_any_lifetime_is_believed_within_reason(
    service: Service, folder: Path, rescale: HtcSession, lifetime: str, count: int
) -> None:
    answer = f'{{"tokenValue": "token-1", "expiresIn": {lifetime}}}'
    service.on(TOKENS, Answer(answer.encode()))
    for _ in range(3):
        assert token(rescale) == "token-1"
    assert renewals(service) == count
    with HtcSession(base_url=service.url) as later:
        token(later)
    assert renewals(service) == (1 if count == 1 else 4)


@pytest.mark.parametrize("lifetime", [True, "600", None, [600], {}])
def test_a_lifetime_that_is_no_number_is_an_error(
    service: Service, rescale: HtcSession, lifetime: object
) -> None:
    service.on(TOKENS, Answer({"tokenValue": "token-1", "expiresIn": lifetime}))
    with pytest.raises(HtcResponseError, match="expiresIn"):
        token(rescale)


@pytest.mark.parametrize("value", ["two words", "line\nbreak", "schlüssel", "", "nul\0", " "])
def test_an_invalid_token_is_neither_used_nor_shown(
    service: Service, folder: Path, rescale: HtcSession, value: str
) -> None:
    keep(folder, 20000, tokenValue=value, baseUrl=service.url)
    service.on(TOKENS, Answer({"tokenValue": value, "expiresIn": 600}))
    with pytest.raises(HtcResponseError, match="getToken") as info:
        token(rescale)
    assert not value.strip() or value not in str(info.value)


@pytest.mark.parametrize(
    "fields", [{"expiresIn": True}, {"expiresIn": float("nan")}, {"expiresIn": -1}, {"expiresIn": "x"}]
)  # fmt: skip
def test_a_kept_token_of_a_senseless_lifetime_is_passed_over(
    service: Service, folder: Path, rescale: HtcSession, fields: dict[str, object]
) -> None:
    keep(folder, 20000, baseUrl=service.url, **fields)
    assert token(rescale) == "token-1"


@pytest.mark.parametrize(
    "lifetime", [float("inf"), 1e300, pytest.param(10**400, id="huge"), 21600.5]
)
def test_a_kept_token_of_a_long_lifetime_is_used(
    service: Service, folder: Path, rescale: HtcSession, lifetime: float
) -> None:
    keep(folder, 1e8, expiresIn=lifetime, baseUrl=rescale.base_url)
    assert token(rescale) == "kept"


def token_source(answer: object, folder: Path | None = None) -> TokenSource:
    """A token source with this response of getToken."""

    async def fetch(_: str) -> object:
        return answer

    credential = Credential("Token", "key", "a test", folder)
    return TokenSource(BlockingIo(Transport()), credential, "http://x", fetch)


@given(
    st.dictionaries(
        st.sampled_from(["tokenValue", "expiresIn", "expiresAt", "baseUrl", "credential"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text()
        | st.datetimes().map(datetime.isoformat),
    )
)
def test_no_token_file_does_harm(stored: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "rescale_bearer_token.json").write_text(json.dumps(stored))
        source = token_source(TOKEN, Path(folder))
        assert run(source.get()) in ("token-1", stored.get("tokenValue"))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.sampled_from(["tokenValue", "expiresIn"]), s)))  # fmt: skip
def test_no_answer_leaves_as_anything_but_an_htc_exception(answer: object) -> None:
    try:
        run(token_source(answer).get())
    except HtcException as error:
        assert isinstance(error, HtcResponseError)


# ---- clocks


@pytest.fixture
def clock(rescale: HtcSession) -> TestIo:
    return inject_clock(rescale)


def move(clock: TestIo, which: str, seconds: float) -> None:
    """Move one of the two clocks."""
    if which == "monotonic":
        clock.ahead += seconds
    clock.time_ahead += seconds if which == "time" else -seconds


def test_a_clock_set_forward_costs_a_renewal_and_one_set_back_nothing(
    numbered: Service, folder: Path, rescale: HtcSession, clock: TestIo
) -> None:
    """The clock also jumps forward when a sleeping machine wakes up."""
    assert token(rescale) == "token-1"
    move(clock, "time", 7 * 3600)
    assert [token(rescale) for _ in range(3)] == ["token-2"] * 3
    move(clock, "time", -24 * 3600)
    assert [token(rescale) for _ in range(3)] == ["token-2"] * 3
    move(clock, "monotonic", 7 * 3600)
    assert [token(rescale) for _ in range(3)] == ["token-3"] * 3


@pytest.mark.parametrize("which", ["time", "monotonic"])
@pytest.mark.parametrize("lifetime", [600, 86400])
def test_a_token_is_renewed_before_its_lifetime_is_over(
    service: Service,
    folder: Path,
    rescale: HtcSession,
    clock: TestIo,
    lifetime: int,
    which: str,
) -> None:
    service.on(TOKENS, Answer({"tokenValue": "token-1", "expiresIn": lifetime}))
    token(rescale)
    move(clock, which, lifetime * 0.7)
    token(rescale)
    assert renewals(service) == 1
    move(clock, which, lifetime * 0.2)
    token(rescale)
    assert renewals(service) == 2


def test_an_hour_that_the_local_time_leaves_out_does_not_prolong_a_token(
    numbered: Service, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has local time in the format of 1.1.0."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()

    def token_after(hours: float) -> str:
        with HtcSession(base_url=numbered.url) as rescale:
            clock = inject_clock(rescale)
            start = datetime(2026, 3, 29, 1, 55).timestamp() - clock.time()
            clock.time_ahead = start + hours * 3600
            return token(rescale)

    try:
        assert token_after(0) == "token-1"
        stored = json.loads((folder / "rescale_bearer_token.json").read_text())
        assert stored["expiresAt"].startswith("2026-03-29T08:55:0")  # seven by the clock
        assert token_after(4.7) == "token-1"
        assert token_after(5.5) == "token-2"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_time_that_the_answer_took_is_not_added_to_the_lifetime(
    service: Service, folder: Path, rescale: HtcSession, clock: TestIo
) -> None:
    def slowly(request: ReceivedRequest) -> Answer:
        clock.ahead += 300
        return Answer({"tokenValue": "token", "expiresIn": 600})

    service.on(TOKENS, slowly)
    token(rescale)
    stored = json.loads((folder / "rescale_bearer_token.json").read_text())
    left = datetime.fromisoformat(stored["expiresAt"]).timestamp() - clock.time()
    assert 0 < left <= 300
    clock.ahead += 179
    token(rescale)
    assert renewals(service) == 1
    clock.ahead += 2
    token(rescale)
    assert renewals(service) == 2
