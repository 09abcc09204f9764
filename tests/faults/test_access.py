"""Who may connect and what they may do: a refusal is told at once, and no secret with it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from micro.errors import DeadlineExceeded, Forbidden, MicroError, NoResponders, Unauthorized
from micro_nats.devserver import NatsServer
from tests.faults.access import FAILED, Options, guarded, points, refused, reload
from tests.faults.clock import lasts, succeeds
from tests.faults.load import client_of
from tests.faults.process import Journal
from tests.faults.proxy import run_proxy
from tests.identities import Operator, user_key

SECRET = "s3cretive"
BOUND = 5.0  # seconds, the default of connect_timeout


def read(client, **options):
    return client.call("points", "Points.Read", {"number": 1}, **options)


class Login:
    """What a server asks for, and a client that cannot give it."""

    def password(self, folder: Path) -> tuple[str, Options, str, str]:
        return "user: ann, password: right", {"user": "ann", "password": SECRET}, SECRET, ""

    def address(self, folder: Path) -> tuple[str, Options, str, str]:
        return "user: ann, password: right", {}, SECRET, f"ann:{SECRET}@"

    def user(self, folder: Path) -> tuple[str, Options, str, str]:
        return f"user: ann, password: {SECRET}", {"user": "eve", "password": SECRET}, SECRET, ""

    def token(self, folder: Path) -> tuple[str, Options, str, str]:
        return "token: right", {"token": SECRET}, SECRET, ""

    def nkey(self, folder: Path) -> tuple[str, Options, str, str]:
        (_, known), (seed, _) = user_key(1), user_key(2)
        path = folder / "user.nk"
        path.write_text(seed)
        return f"users: [ {{ nkey: {known} }} ]", {"nkeys_seed": str(path)}, seed, ""

    def jwt(self, folder: Path) -> tuple[str, Options, str, str]:
        text, seed = Operator().credentials(-10)
        path = folder / "user.creds"
        path.write_text(text)
        return Operator().config, {"user_credentials": str(path)}, seed, ""


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("password", "a wrong password"),
        ("address", "a wrong password in the server's address"),
        pytest.param("user", "an unknown user", marks=pytest.mark.slow),
        pytest.param("token", "a wrong token", marks=pytest.mark.slow),
        ("nkey", "an unknown NKey"),
        ("jwt", "an expired JWT"),
    ],
)
async def test_unknown_credentials_are_refused_at_once(
    tmp_path, verdict, caplog, kind, fault
) -> None:
    row = verdict(
        f"A client and a service that start with {fault}",
        "`Unauthorized` within 1 s; the process ends with code 1 and one clear line; one try each; "
        "no log has the secret",
    )
    config, options, secret, login = getattr(Login(), kind)(tmp_path)
    config = config if kind == "jwt" else f"authorization {{ {config} }}"
    caplog.set_level("DEBUG")
    async with guarded(tmp_path, config) as server, run_proxy(server.address) as proxy:
        told = await refused(proxy, tmp_path, options, login=login)

    row.measured = str(told)
    assert type(told.error) is Unauthorized
    assert told.seconds < 1.0
    assert told.lifetime < BOUND
    assert told.code == FAILED
    assert "refuses the credentials" in told.last
    assert (told.tries, told.service_tries) == (1, 1)
    assert secret not in told.log + caplog.text + str(told.error)


class Rotation:
    """A user's file, and a server that believes it until it does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "credentials"

    def nkey(self) -> tuple[str, str]:
        self.path.write_text(user_key(1)[0])
        return "nkeys_seed", self._users(1)

    def revoke_nkey(self, server: NatsServer) -> None:
        reload(server, self.folder, self._users(2))

    def renew_nkey(self) -> None:
        self.path.write_text(user_key(2)[0])

    def jwt(self) -> tuple[str, str]:
        self.path.write_text(Operator().credentials(4)[0])
        return "user_credentials", Operator().config

    def revoke_jwt(self, server: NatsServer) -> None:
        """Nothing is to be done: it expires."""

    def renew_jwt(self) -> None:
        self.path.write_text(Operator().credentials(600)[0])

    def _users(self, number: int) -> str:
        lasting, known = user_key(9)[1], user_key(number)[1]
        return f"authorization {{ users: [ {{ nkey: {lasting} }}, {{ nkey: {known} }} ] }}"

    def caller(self, kind: str) -> str:
        """The file of another user, which stays valid."""
        path = self.folder / "other"
        path.write_text(user_key(9)[0] if kind == "nkey" else Operator().credentials(600)[0])
        return str(path)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        pytest.param("nkey", "The NKey of a service that runs is revoked on the server", id="nkey"),
        pytest.param(
            "jwt", "The JWT of a service that runs expires", id="jwt", marks=pytest.mark.slow
        ),
    ],
)
async def test_a_running_service_takes_new_credentials_from_its_file(
    tmp_path, verdict, kind, fault
) -> None:
    row = verdict(
        f"{fault}; 2 s later its file is renewed",
        "the process stays up and backs off (under 5 tries a second), serves within 5 s of the new "
        "file",
    )
    rotation = Rotation(tmp_path)
    option, config = getattr(rotation, kind)()
    async with (
        guarded(tmp_path, config) as server,
        run_proxy(server.address) as proxy,
        points(proxy.address, tmp_path, {option: str(rotation.path)}) as program,
        client_of(server.address, plugins={"nats": {option: rotation.caller(kind)}}) as client,
    ):
        await program.says("ready: points")
        await read(client)
        proxy.accepted.clear()
        getattr(rotation, f"revoke_{kind}")(server)
        await program.says("connection disconnected")
        await lasts(2.0)
        tries = len(proxy.accepted)
        getattr(rotation, f"renew_{kind}")()
        back = await succeeds(lambda: read(client, timeout=0.5))
        alive = program.alive

    row.measured = f"{tries} tries in 2 s, served {back:.2f} s after"
    assert alive
    assert 1 <= tries < 10
    assert back < 5.0


def users(ann: str = "", bob: str = "") -> str:
    """A server's users; the text after a name forbids something."""
    each = ", ".join(f"{{ user: {n}, password: x {t} }}" for n, t in (("ann", ann), ("bob", bob)))
    return f"authorization {{ users: [ {each} ] }}"


def deny(kind: str, *subjects: str) -> str:
    return f", permissions: {{ {kind}: {{ deny: {list(subjects)} }} }}".replace("'", '"')


ANN = {"user": "ann", "password": "x"}
BOB = {"user": "bob", "password": "x"}


@pytest.mark.parametrize(
    ("kind", "subject", "name", "error"),
    [
        ("publish", "points.calls", "send to the service", NoResponders),
        ("publish", "micro.>", "ask who serves", Forbidden),
        ("subscribe", "_INBOX.>", "have an inbox", Forbidden),
    ],
)
async def test_a_call_without_permission_is_refused(
    tmp_path, verdict, kind, subject, name, error
) -> None:
    row = verdict(
        f"The caller is not permitted to {name}",
        f"the call ends as `{error.__name__}` within 1 s; the handler does not run",
    )
    async with (
        guarded(tmp_path, users(bob=deny(kind, subject))) as server,
        points(server.address, tmp_path, ANN) as program,
        client_of(server.address, plugins={"nats": BOB}) as client,
    ):
        await program.says("ready: points")
        began = time.monotonic()
        with pytest.raises(MicroError) as raised:
            await read(client)
        seconds = time.monotonic() - began

    row.measured = f"{type(raised.value).__name__} after {seconds:.2f} s"
    assert type(raised.value) is error
    assert seconds < 1.0
    assert not Journal(tmp_path / "journal").entries("read")


async def test_an_event_without_permission_is_reported(tmp_path, verdict, caplog) -> None:
    row = verdict(
        "The publisher is not permitted to publish to a topic",
        "told in the log before `flush` returns, with the topic; the connection stands",
    )
    async with (
        guarded(tmp_path, users(bob=deny("publish", "points.happened"))) as server,
        client_of(server.address, plugins={"nats": BOB}) as client,
    ):
        await client.publish("points.happened", {"number": 1})
        await client.flush()
        told = [message for message in caplog.messages if "points.happened" in message]
        await client.flush()

    row.measured = told[0] if told else "not told"
    assert told
    assert all("Permissions Violation for Publish" in message for message in told)


async def test_a_service_that_may_not_answer_says_so_in_its_log(tmp_path, verdict) -> None:
    row = verdict(
        "The service is not permitted to publish its answers",
        "the call ends as `DeadlineExceeded` at its deadline (1 s); the service's log names the "
        "subject; the process stays up",
    )
    async with (
        guarded(tmp_path, users(ann=deny("publish", "_INBOX.*.s.>"))) as server,
        points(server.address, tmp_path, ANN) as program,
        client_of(server.address, plugins={"nats": BOB}) as client,
    ):
        await program.says("ready: points")
        began = time.monotonic()
        with pytest.raises(MicroError) as raised:
            await read(client, timeout=1.0, retries=0)
        seconds = time.monotonic() - began
        await program.says("connection denied: Permissions Violation for Publish")
        alive = program.alive

    row.measured = f"{type(raised.value).__name__} after {seconds:.2f} s"
    assert type(raised.value) is DeadlineExceeded
    assert 0.9 < seconds < 1.1
    assert alive


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("_INBOX.>", "its inbox"),
        pytest.param("points.calls", "its own address", marks=pytest.mark.slow),
        ("points.happened", "its topic"),
        ("micro.nats.query", "the registry's queries"),
    ],
)
async def test_a_service_that_may_not_listen_does_not_start(
    tmp_path, verdict, subject, name
) -> None:
    row = verdict(
        f"A service that is not permitted to subscribe to {name}",
        f"ends within {BOUND:g} s with code 1 and a line that names the subject; never ready",
    )
    async with (
        guarded(tmp_path, users(ann=deny("subscribe", subject))) as server,
        points(server.address, tmp_path, ANN) as program,
    ):
        began = time.monotonic()
        await program.says("error: ")
        code = await program.gone()
        seconds = time.monotonic() - began

    row.measured = f"code {code} after {seconds:.2f} s: {program.log[-1].strip()}"
    assert code == FAILED
    assert seconds < BOUND
    assert subject.rstrip(">") in program.log[-1]
    assert "Permissions Violation" in program.log[-1]
    assert not program.said("ready")


async def test_a_service_listens_again_when_it_may_again(tmp_path, verdict) -> None:
    row = verdict(
        "The permission to listen at its address is taken from a service that runs, for 2 s",
        "callers learn it within 1 s, its log names the subject; it serves within 5 s of the "
        "permission's return, and was not restarted",
    )
    async with (
        guarded(tmp_path, users()) as server,
        points(server.address, tmp_path, ANN) as program,
        client_of(server.address, plugins={"nats": BOB}) as client,
    ):
        await program.says("ready: points")
        await read(client)
        reload(server, tmp_path, users(ann=deny("subscribe", "points.calls")))
        await program.says("connection denied: Permissions Violation for Subscription")
        began = time.monotonic()
        with pytest.raises(MicroError) as raised:
            await read(client)
        seconds = time.monotonic() - began
        await lasts(2.0 - seconds)
        reload(server, tmp_path, users())
        back = await succeeds(lambda: read(client, timeout=0.5))
        denied, alive = program.said("connection denied"), program.alive

    row.measured = (
        f"{type(raised.value).__name__} after {seconds:.2f} s, {denied} line(s), served "
        f"{back:.2f} s after"
    )
    assert type(raised.value) is NoResponders
    assert seconds < 1.0
    assert denied <= 2
    assert alive
    assert back < 5.0
