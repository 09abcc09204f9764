from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from micro.backend import BackendOptions, ConnectionEvent, ConnectionState
from micro.errors import ConfigError, ConnectionLost, Forbidden
from micro.scope import open_scope
from micro_nats.connection import subscriptions
from micro_nats.connection.connection import Connection, open_connection
from micro_nats.devserver import NatsServer, run_server
from tests.plugins.micro_nats.helpers import Events, Inbox, Watch, connections, until

PERMISSIONS = """
authorization {
  users = [
    { user: "ann", password: "s3cret", permissions: {
        publish: { allow: ["open.>", "_INBOX.>"] }
        subscribe: { allow: ["open.>", "_INBOX.>"] } } }
  ]
}
"""


async def test_no_server_is_a_clear_error_within_the_bound() -> None:
    started = time.monotonic()
    options = BackendOptions(addresses=("127.0.0.1:1",), connect_timeout=0.3)
    with pytest.raises(ConnectionLost) as told:
        async with open_connection(options):
            pass

    assert time.monotonic() - started < 1.0
    assert "nats://127.0.0.1:1" in told.value.detail
    assert "micro server" in told.value.detail
    assert "--transport=memory" in told.value.detail


async def test_a_server_that_says_nothing_does_not_hold_up_the_start() -> None:
    release = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    listener = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    options = BackendOptions(addresses=(f"127.0.0.1:{port}",), connect_timeout=0.2)
    async with listener:
        with pytest.raises(ConnectionLost):
            async with open_connection(options):
                pass
        release.set()


async def test_a_server_that_starts_late_is_found() -> None:
    server = NatsServer()
    server.start()
    await server.wait()
    server.kill()
    options = BackendOptions(addresses=(server.address,), connect_timeout=10)
    asyncio.get_running_loop().call_later(0.2, server.start)
    async with open_connection(options) as connection:
        await connection.check()
    server.stop()


async def test_the_second_server_is_tried_when_the_first_is_not_there(server: NatsServer) -> None:
    options = BackendOptions(
        addresses=(f"127.0.0.1:1,{server.address}",), driver={"dont_randomize": "true"}
    )
    async with open_connection(options) as connection:
        await connection.check()


async def test_inboxes_cannot_be_guessed(options: BackendOptions) -> None:
    async with open_connection(options) as one, open_connection(options) as two:
        inboxes = {one.inboxes.new(), one.inboxes.new(), two.inboxes.new(), two.inboxes.new()}

    assert len(inboxes) == 4
    assert {inbox.partition(".")[0] for inbox in inboxes} == {"_INBOX"}
    assert {len(inbox.partition(".")[2]) for inbox in inboxes} == {22}


async def test_a_restart_of_the_server_is_survived_with_all_subscriptions(
    own_server: NatsServer,
) -> None:
    events, lost, restored = Events(), [], []
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_connection(options) as connection:
        connection.observe(
            Watch(lost=lost.append, restored=lambda: restored.append(connection.connected))
        )
        plain, queued = Inbox(), Inbox()
        await connection.subscribe("plain.*", plain)
        await connection.subscribe("queued", queued, "q")
        for round_ in range(3):
            own_server.kill()
            await events.wait_for(ConnectionState.DISCONNECTED, round_ + 1)
            own_server.start()
            await events.wait_for(ConnectionState.RECONNECTED, round_ + 1)
            connection.publish_now("plain.x", "", b"%d" % round_)
            connection.publish_now("queued", "", b"%d" % round_)
            await plain.wait_for(round_ + 1)
            await queued.wait_for(round_ + 1)

    assert plain.payloads == queued.payloads == [b"0", b"1", b"2"]
    assert restored == [True] * 3
    assert len(lost) == 4  # the last one by closing


async def wait_and_publish(connection: Connection, subject: str) -> None:
    """Publish when the connection says that it is up."""
    await connection.wait_connected(10)
    connection.publish_now(subject, "", b"waited")


async def try_and_publish(connection: Connection, subject: str) -> None:
    """Publish in the first turn of the event loop in which the connection accepts it."""
    while True:
        try:
            connection.publish_now(subject, "", b"tried")
        except ConnectionLost:
            await asyncio.sleep(0)
        else:
            return


@pytest.mark.parametrize("publish", [wait_and_publish, try_and_publish])
async def test_no_event_after_a_reconnection_is_lost_to_the_same_connection(
    own_server: NatsServer, publish
) -> None:
    events, inbox = Events(), Inbox()
    subjects = [f"event.{number}" for number in range(300)]
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_connection(options) as connection, open_scope() as scope:
        for subject in subjects:
            await connection.subscribe(subject, inbox)
        for round_ in range(3):
            own_server.kill()
            await events.wait_for(ConnectionState.DISCONNECTED, round_ + 1)
            # The last subscriptions of the one write are those that a publisher would overtake.
            publishing = [scope.start(publish(connection, each)) for each in subjects[::-30]]
            own_server.start()
            for each in publishing:
                await each
            await connection.flush()
            await inbox.wait_for((round_ + 1) * len(publishing))

    assert [message[0] for message in inbox.messages] == subjects[::-30] * 3


async def test_a_subscription_that_was_drained_stays_away_after_a_restart(
    own_server: NatsServer,
) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_connection(options) as connection:
        gone, here = Inbox(), Inbox()
        drained = await connection.subscribe("x", gone)
        ended = await connection.subscribe("x", gone)
        await connection.subscribe("x", here)
        await drained.drain()
        ended.unsubscribe()
        own_server.kill()
        await events.wait_for(ConnectionState.DISCONNECTED)
        own_server.start()
        await events.wait_for(ConnectionState.RECONNECTED)
        connection.publish_now("x", "", b"")
        await here.wait_for(1)
        await connection.flush()

    assert gone.messages == []


async def test_draining_ends_when_the_connection_does(own_server: NatsServer) -> None:
    async with open_connection(BackendOptions(addresses=(own_server.address,))) as connection:
        subscription = await connection.subscribe("x", Inbox())
        own_server.signal(signal.SIGSTOP)
        draining = asyncio.ensure_future(subscription.drain())
        await asyncio.sleep(0)
        own_server.kill()
        await draining


async def test_while_there_is_no_connection_everything_fails_at_once(
    own_server: NatsServer,
) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_connection(options) as connection:
        own_server.kill()
        await events.wait_for(ConnectionState.DISCONNECTED)

        for attempt in (connection.flush, connection.check, connection.wait_writable):
            with pytest.raises(ConnectionLost):
                await attempt()
        with pytest.raises(ConnectionLost):
            await connection.subscribe("x", Inbox())
        with pytest.raises(ConnectionLost):
            await connection.wait_connected(0.01)


async def test_a_check_of_a_frozen_server_fails_within_two_seconds(own_server: NatsServer) -> None:
    async with open_connection(BackendOptions(addresses=(own_server.address,))) as connection:
        await connection.check()
        own_server.signal(signal.SIGSTOP)
        await until(lambda: _state(own_server) == "T")
        started = time.monotonic()
        with pytest.raises(ConnectionLost):
            await connection.check()

        assert time.monotonic() - started < 3
        own_server.signal(signal.SIGCONT)
        await connection.check()


def _state(server: NatsServer) -> str:
    return Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_hook_that_raises_harms_nothing(own_server: NatsServer) -> None:
    events = Events()

    def fail(event: ConnectionEvent) -> None:
        events(event)
        raise RuntimeError("no")

    options = BackendOptions(addresses=(own_server.address,), on_event=fail)
    async with open_connection(options) as connection:
        own_server.kill()
        await events.wait_for(ConnectionState.DISCONNECTED)
        own_server.start()
        await events.wait_for(ConnectionState.RECONNECTED)
        await connection.check()

    assert events.states[0] == ConnectionState.CONNECTED
    assert events.states[-1] == ConnectionState.CLOSED


async def test_closing_leaves_no_connection_at_the_server(server: NatsServer) -> None:
    options = BackendOptions(addresses=(server.address,), name="soon gone")
    async with open_connection(options) as connection:
        connection.publish_now("x", "", b"")

    for _ in range(200):
        if "soon gone" not in [each.get("name") for each in await connections(server)]:
            return
    raise AssertionError("the connection is still there")


async def test_what_was_sent_before_closing_arrives(
    options: BackendOptions, connection: Connection
) -> None:
    inbox = Inbox()
    await connection.subscribe("last.words", inbox)
    async with open_connection(options) as closing:
        for number in range(1000):
            closing.publish_now("last.words", "", b"%d" % number)
    await inbox.wait_for(1000)


@pytest.mark.parametrize("name", ["servers", "error_cb", "no_such", "allow_reconnect"])
async def test_an_unknown_option_is_refused_before_anything_is_done(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        async with open_connection(BackendOptions(driver={name: 1})):
            pass


class TestPermissions:
    @pytest.fixture
    async def guarded(self, tmp_path) -> NatsServer:
        config = tmp_path / "server.conf"
        config.write_text(PERMISSIONS)
        async with run_server(config=config) as server:
            yield server

    @pytest.fixture
    def events(self) -> Events:
        return Events()

    @pytest.fixture
    async def limited(self, guarded: NatsServer, events: Events) -> Connection:
        address = guarded.address.replace("//", "//ann:s3cret@")
        options = BackendOptions(addresses=(address,), on_event=events)
        async with open_connection(options) as connection:
            yield connection

    async def test_a_denied_subscription_is_an_error(self, limited: Connection) -> None:
        with pytest.raises(Forbidden, match="closed"):
            await limited.subscribe("closed.door", Inbox())
        with pytest.raises(Forbidden):
            await limited.subscribe("closed.door", Inbox(), "q")
        inbox = Inbox()
        await limited.subscribe("open.door", inbox)
        limited.publish_now("open.door", "", b"")
        await inbox.wait_for(1)

    async def test_a_denied_publication_is_told_of(
        self, limited: Connection, events: Events
    ) -> None:
        denied: list[str] = []
        limited.observe(Watch(denied=denied.append))
        limited.publish_now("closed.door", "", b"")
        event = await events.wait_for(ConnectionState.DENIED)
        await limited.check()

        assert denied == ["closed.door"]
        assert "s3cret" not in event.detail

    async def test_a_subscription_returns_with_its_permission(
        self,
        limited: Connection,
        events: Events,
        guarded: NatsServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(subscriptions, "RETRY_DENIED_SECONDS", 0.1)
        config, inbox = tmp_path / "server.conf", Inbox()
        await limited.subscribe("open.door", inbox, "q")
        config.write_text(PERMISSIONS.replace("subscribe: { allow: [", "subscribe: { deny: ["))
        guarded.signal(signal.SIGHUP)
        await events.wait_for(ConnectionState.DENIED, 2)
        with pytest.raises(Forbidden, match=r"open\.door"):
            await limited.check()
        config.write_text(PERMISSIONS)
        guarded.signal(signal.SIGHUP)

        def heard() -> bool:
            limited.publish_now("open.door", "", b"")
            return bool(inbox.messages)

        await until(heard)
        await limited.check()


class TestLameDuck:
    async def test_a_server_that_stops_is_left_for_another(self) -> None:
        events = Events()
        async with run_server() as first, run_server() as second:
            options = BackendOptions(
                addresses=(first.address, second.address),
                on_event=events,
                driver={"dont_randomize": True},
            )
            async with open_connection(options) as connection:
                first.signal(signal.SIGUSR2)
                await events.wait_for(ConnectionState.LAME_DUCK)
                await events.wait_for(ConnectionState.RECONNECTED)
                await connection.check()
            first.kill()

        assert second.address in [event.detail for event in events.events]

    async def test_the_only_server_is_kept_while_it_serves(self, own_server: NatsServer) -> None:
        events = Events()
        options = BackendOptions(addresses=(own_server.address,), on_event=events)
        async with open_connection(options) as connection:
            own_server.signal(signal.SIGUSR2)
            await events.wait_for(ConnectionState.LAME_DUCK)
            await connection.check()

            assert events.states.count(ConnectionState.DISCONNECTED) == 0
        own_server.kill()


async def test_reconnecting_leaves_no_tasks_behind(own_server: NatsServer) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_connection(options) as connection:
        before = len(asyncio.all_tasks())
        for round_ in range(5):
            connection._link.fail(ConnectionLost("cut"))
            await events.wait_for(ConnectionState.RECONNECTED, round_ + 1)
        await until(lambda: len(asyncio.all_tasks()) <= before)
