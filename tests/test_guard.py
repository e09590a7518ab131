"""Who gets in under CURVE, and what a key may send: the door with real sockets, the frames by hand."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import numpy as np
import pytest
import zmq
from typer.testing import CliRunner

from lifeline_core.cli import app
from lifeline_core.config import check_city, load_city, read_city
from lifeline_core.errors import ConfigError
from lifeline_core.model import NS, Client
from lifeline_core.service import Device, FeedClient, FeedRefused, LiveView, Service
from lifeline_core.service.certificates import make_keys, read_keys, read_public
from lifeline_core.service.guard import FAST, FOREIGN, QUIET_NS, Guard
from lifeline_core.service.log import Log
from lifeline_core.service.receive import FRAME, GATEWAY, RUBBISH, Batch
from lifeline_core.service.sockets import COMMON, end
from tests.proxy import Proxy
from tests.service_city import city_text, frame, running, send_second, until

Z = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
OTHER = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"


# ---- the configuration ----


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_city(text)
    return caught.value.faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[service]\nfeed = "tcp://*:5552"', "service.feed: must be on loopback or ipc://"),
        ('[security]\nmode = "open"', "security.mode: must be one of local, plain, curve"),
        ('[security]\nmode = "curve"', "security.key_file: must be given"),
        ('[security]\nmode = "curve"\nkey_file = "none"', "security.key_file: must be a readable file"),
        ('[client.a]\nkey = "short"\ndevices = [1]', "client.a.key: must be the 40 characters"),
        (f"[client.a]\nkey = '{Z}'", "client.a.devices: must be given for the role device"),
        (f"[client.a]\nkey = '{Z}'\nrole = 'reader'\ndevices = [1]", "client.a.devices: must not be given"),
        (f"[client.a]\nkey = '{Z}'\ndevices = [-1]", "client.a.devices: must be from 0"),
        (f"[client.a]\nkey = '{Z}'\ndevices = [1]\nmax_kib_s = 0", "client.a.max_kib_s: must be above 0"),
        (f"[client.a]\nkey = '{Z}'\ndevices = [1]\n[client.b]\nkey = '{Z}'\ndevices = [2]", "client.b.key: must not be that of"),
        (f"[client.a]\nkey = '{Z}'\ndevices = [1]\n[client.b]\nkey = '{OTHER}'\ndevices = [1]", "client.b.devices: must not be"),
        ("security = 3", "security: must be a table, 3"),
    ],
)
def test_a_fault_is_told_with_its_path(text: str, fault: str) -> None:
    assert any(one.startswith(fault) for one in faults(text)), faults(text)


def test_plain_sockets_leave_the_machine_only_when_that_is_asked_for() -> None:
    assert read_city('[service]\ningest = "tcp://0.0.0.0:5550"\n[security]\nmode = "plain"').security.mode == "plain"
    assert read_city('[service]\ningest = "ipc:///tmp/x"\nfeed = "tcp://localhost:1"').security.mode == "local"


def test_keys_change_no_alarm(tmp_path: Path) -> None:
    city = load_city(written(tmp_path))
    assert city.hash == read_city(city_text(tmp_path)).hash


# ---- keys ----


def test_keygen_writes_two_files_and_prints_the_lines(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["keygen", "logger-17", "--device", "18", "--device", "17", "--dir", str(tmp_path)])
    assert said.exit_code == 0, said.output
    secret = tmp_path / "logger-17.key_secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    keys = read_keys(secret)
    assert keys.secret.decode() not in said.output and keys.secret not in repr(keys).encode()
    assert keys.public == read_public(str(tmp_path / "logger-17.key"))
    client = read_city(said.stdout).clients["logger-17"]
    assert (client.key, client.role, client.devices) == (keys.public.decode(), "device", (17, 18))
    before = secret.read_bytes()
    with pytest.raises(FileExistsError, match="never written over"):
        make_keys(tmp_path, "logger-17")
    assert secret.read_bytes() == before


def test_a_secret_others_may_read_is_refused(tmp_path: Path) -> None:
    public, secret = make_keys(tmp_path, "service")
    with pytest.raises(ConfigError, match="a public and a secret key"):
        read_keys(public)
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_keys(secret)
    with pytest.raises(ConfigError, match=r"security\.key_file: must be a key file"):
        read_keys(tmp_path / "none", "security.key_file")


# ---- frames, by hand ----


def batch(rows: list[tuple[int, bytes]]) -> Batch:
    """(user, payload) as a drain gives them."""
    lengths = np.array([len(p) for _, p in rows], np.int64)
    kinds = [RUBBISH if not p else GATEWAY if p[0] & 0xF0 == 0x80 else FRAME for _, p in rows]
    return Batch(
        np.frombuffer(b"".join(p for _, p in rows) or b"\0", np.uint8), np.cumsum(lengths) - lengths, lengths,
        np.ones(len(rows), np.uint32), np.array([u for u, _ in rows], np.uint32), np.array(kinds, np.uint8),
    )  # fmt: skip


def guard(**limits: Any) -> Guard:
    """Users 1 and 2: the keys are in rising order."""
    low, high = sorted([Z, OTHER])
    return Guard({"b": Client(name="b", key=high, devices=(9,)), "a": Client(name="a", key=low, devices=(7, 2**32 - 1), **limits)},
                 Log())


def test_a_frame_counts_for_the_key_it_came_under_not_for_what_it_says() -> None:
    one, g = frame(0, device=7), guard()
    rows = [
        (1, one), (2, one), (0, one), (2, frame(0, device=9)), (1, frame(0, device=2**32 - 1)),
        (1, msgpack.packb({"device": 7})), (2, msgpack.packb({"device": 7})), (2, msgpack.packb({"device": "x"})),
        (2, b"LLF1"), (0, b""), (2, b"\x81"),
    ]  # fmt: skip
    b = batch(rows)
    g.judge(b)
    assert [int(k) for k in b.kinds] == [
        FRAME, FOREIGN, FOREIGN, FRAME, FRAME, GATEWAY, FOREIGN, GATEWAY, FRAME, RUBBISH, GATEWAY,
    ]  # fmt: skip
    assert g.counts == {"not-its-device": 3}
    assert g.by_client == {("not-its-device", "b"): 2, ("not-its-device", ""): 1}
    g.judge(batch([]))


def test_more_than_a_key_may_send_is_not_taken() -> None:
    g = guard(max_frames_s=10.0)
    b = batch([(1, frame(s, device=7)) for s in range(60)] + [(2, frame(s, device=9)) for s in range(60)])
    g.judge(b)
    assert (b.kinds[:50] == FRAME).all() and (b.kinds[50:60] == FAST).all()  # five seconds of its rate at once
    assert (b.kinds[60:] == FRAME).all() and g.by_client == {("over-rate", "a"): 10}
    time.sleep(0.25)
    b = batch([(1, frame(s, device=7)) for s in range(60)])
    g.judge(b)
    assert 2 <= int((b.kinds == FRAME).sum()) < 50
    size = len(frame(0, device=7))
    g = guard(max_kib_s=size * 4 / 1024 / 5)
    b = batch([(1, frame(s, device=7)) for s in range(6)])
    g.judge(b)
    assert [int(k) for k in b.kinds] == [FRAME] * 4 + [FAST] * 2


def test_refusals_are_one_alarm_until_it_is_quiet() -> None:
    g = guard()
    assert g.tick(0) == []
    g.callback("ingest", b"?" * 40)
    (raised,) = g.tick(NS)
    assert (raised.process, raised.onset_ns, raised.evidence) == ("active", NS, {"refused": {"key": 1}})
    g.callback("feed", sorted([Z, OTHER])[0].encode())
    assert g.tick(2 * NS) == [] and g.tick(QUIET_NS) == []
    (cleared,) = g.tick(2 * NS + QUIET_NS)
    assert (cleared.alarm_id, cleared.process, cleared.revision) == (raised.alarm_id, "cleared", 2)
    assert cleared.evidence == {"refused": {"key": 1, "role a": 1}}
    assert g.tick(9 * QUIET_NS, ending=True) == []


# ---- the door ----


def written(tmp_path: Path) -> Path:
    """A city under CURVE with five pairs of keys: the service's, two devices', a reader's and an operator's."""
    folder = tmp_path / "keys"
    for name in ("service", "logger", "other", "reader", "operator", "stranger"):
        if not (folder / f"{name}.key").exists():
            make_keys(folder, name)
    text = city_text(tmp_path / "data") + '\n[security]\nmode = "curve"\nkey_file = "keys/service.key_secret"\n'
    devices = {"logger": 7, "other": 8}
    for name in ("logger", "other", "reader", "operator"):
        text += f"[client.{name}]\nkey = '{read_public(str(folder / f'{name}.key')).decode()}'\n"
        text += f"devices = [{devices[name]}]\n" if name in devices else f'role = "{name}"\n'
    (tmp_path / "city.toml").write_text(text)
    return tmp_path / "city.toml"


class Door:
    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self.folder = service, folder
        self.context = zmq.Context()

    def keys(self, name: str) -> dict[str, bytes]:
        keys = read_keys(self.folder / f"{name}.key_secret")
        service = read_public(str(self.folder / "service.key"))
        return {"curve_serverkey": service, "curve_publickey": keys.public, "curve_secretkey": keys.secret}

    def dealer(self, name: str = "logger", socket: str = "ingest", *, called: bytes = b"", to: str = "") -> Any:
        """Under the keys of ``name``; ``called``: the routing id it chooses."""
        dealer = self.context.socket(zmq.DEALER)
        dealer.linger = 0
        if called:
            dealer.setsockopt(zmq.IDENTITY, called)
            dealer.reconnect_ivl = -1  # a test makes it anew itself
        for option, key in self.keys(name).items() if name else ():
            setattr(dealer, option, key)
        dealer.connect(to or self.service.endpoints[socket])
        return dealer

    def port(self) -> int:
        return int(self.service.endpoints["ingest"].rsplit(":", 1)[1])

    def feed(self, name: str) -> FeedClient:
        return FeedClient(self.service.endpoints["feed"], server_key=str(self.folder / "service.key"),
                          key_file=self.folder / f"{name}.key_secret")

    def close(self) -> None:
        end(self.context)


@pytest.fixture(params=["compiled", "plain"])
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    with running(load_city(written(tmp_path)), receiver=request.param) as service:
        door = Door(service, tmp_path / "keys")
        yield door
        door.close()


def test_a_known_key_is_heard_for_its_own_devices_only(door: Door) -> None:
    device = door.dealer()
    device.send(frame(0, device=8))
    assert device.poll(5000)
    assert msgpack.unpackb(device.recv()) == {"refused": "not-its-device", "device": 8, "channel": 0, "epoch": 1, "seq": 0}
    device.send(frame(0))
    assert device.poll(5000) and msgpack.unpackb(device.recv())["ack"] == 0
    with door.feed("reader") as feed:
        alarms = until(lambda: (got := feed.read(after=0)[0]) and len({a.watch for a in got}) == 2 and got)
        assert {(a.site, a.watch) for a in alarms} == {("north", "well-high"), ("service", "guard")}
        stats = feed.stats()
        assert (stats["frames"], stats["refused"]) == (1, {"not-its-device": 1})
    letters = b"".join(f.read_bytes() for f in (door.folder.parent / "data" / "dead-letters").iterdir())
    assert b"not-its-device" in letters


def acks(dealer: Any, last: int) -> list[int]:
    """What it hears until ``last`` is acknowledged."""
    heard: list[int] = []
    while last not in heard:
        assert dealer.poll(5000), f"heard {heard} only"
        heard.append(msgpack.unpackb(dealer.recv())["ack"])
    return heard


def test_another_keys_name_neither_cuts_off_nor_diverts(door: Door) -> None:
    honest = door.dealer(called=b"well-7")
    honest.send(frame(0))
    acks(honest, 0)
    intruder = door.dealer("other", called=b"well-7")
    for second in range(1, 20):
        intruder.send(frame(second, device=8))
        honest.send(frame(second))
        acks(honest, second)
    assert not intruder.poll(200)
    # the feed's replies likewise
    reader = door.dealer("reader", "feed", called=b"desk")
    reader.send(msgpack.packb({"op": "read", "after": 0}))
    assert reader.poll(5000) and msgpack.unpackb(reader.recv())["ok"]
    other = door.dealer("operator", "feed", called=b"desk")
    other.send(msgpack.packb({"op": "stats"}))
    reader.send(msgpack.packb({"op": "read", "after": 0}))
    assert reader.poll(5000) and "alarms" in msgpack.unpackb(reader.recv()) and not other.poll(200)


def test_a_name_that_is_taken_keeps_out_nobody_who_leaves_the_naming_to_the_service(door: Door) -> None:
    squatter = door.dealer("other", called=b"well-7")
    squatter.send(frame(0, device=8))
    assert squatter.poll(5000)
    with Device(door.service.endpoints["ingest"], 7, epoch=1, identity=b"well-7", **door.keys("logger")) as device:
        send_second(device, 0)
        assert device.drain(10)


def test_a_name_under_another_key_is_another_connection(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is still to be said to the former one goes to nobody."""
    seen: list[tuple[int, int]] = []
    judge = Guard.judge

    def look(self: Guard, b: Batch) -> None:
        seen.extend(zip(b.users.tolist(), b.sources.tolist(), strict=True))
        judge(self, b)

    monkeypatch.setattr(Guard, "judge", look)
    first = door.dealer(called=b"well-7")
    first.send(frame(0))
    acks(first, 0)
    first.close(0)
    time.sleep(0.3)
    second = door.dealer("other", called=b"well-7")
    second.send(frame(0, device=8))
    assert second.poll(5000)
    (one, number), (two, another) = seen
    assert one != two and number != another


def test_after_a_half_open_connection_a_device_is_served_at_once(door: Door) -> None:
    said = {"identity": b"well-7", "resend_s": 0.3, **door.keys("logger")}
    with Proxy(door.port()) as proxy, Device(proxy.endpoint, 7, epoch=1, **said) as device:  # type: ignore[arg-type]
        send_second(device, 0)
        assert device.drain(10)
        proxy.go_deaf()
        send_second(device, 1)
        assert device.drain(10) and device.acked == 2 and proxy.accepted == 2


def test_one_that_insists_on_its_name_is_served_when_the_dead_connection_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for option in (zmq.HEARTBEAT_IVL, zmq.HEARTBEAT_TIMEOUT):
        monkeypatch.setitem(COMMON, option, 300)  # type: ignore[arg-type]  # a minute is too long for a test
    with running(load_city(written(tmp_path))) as service:
        door = Door(service, tmp_path / "keys")
        with Proxy(door.port()) as proxy:
            first = door.dealer(called=b"well-7", to=proxy.endpoint)
            first.send(frame(0))
            acks(first, 0)
            proxy.go_deaf()

            def heard() -> bool:
                dealer = door.dealer(called=b"well-7", to=proxy.endpoint)
                dealer.send(frame(1))
                good = bool(dealer.poll(500))
                dealer.close(0)
                return good

            until(heard)
        door.close()


def test_the_names_that_the_service_gives_are_nobodys_guess() -> None:
    """libzmq alone begins with 6b8b4567 in every process."""
    said = {
        subprocess.run([sys.executable, "-c", FIRST_NAME], capture_output=True, text=True, timeout=60, check=True).stdout
        for _ in range(2)
    }
    assert len(said) == 2 and all(name.startswith("00") and len(name.strip()) == 10 for name in said)


FIRST_NAME = """
import zmq
from lifeline_core.service import sockets
context = zmq.Context()
router = sockets.bind(context, zmq.ROUTER, "tcp://127.0.0.1:0", "ingest", {})
dealer = context.socket(zmq.DEALER)
dealer.connect(sockets.address(router))
dealer.send(b"x")
print(router.recv_multipart()[0].hex())
dealer.close(0), router.close(0)
"""


def test_strangers_do_not_get_in_and_are_counted(door: Door) -> None:
    for name, reason in (("stranger", "key"), ("reader", "role"), ("", "handshake")):
        dealer = door.dealer(name)
        dealer.send(frame(0))
        until(lambda reason=reason: door.service._guard.counts[reason], what=reason)  # type: ignore[union-attr]
        assert not dealer.poll(50)
        dealer.close(0)
    numbers = door.service.numbers()
    assert all(numbers[f"denied_{reason}"] >= 1 for reason in ("key", "role", "handshake"))
    assert door.service.stats()["frames"] == 0
    with door.feed("stranger") as feed:
        feed._timeout = 0.5
        with pytest.raises(TimeoutError):
            feed.stats()


def test_readers_read_and_operators_act(door: Door) -> None:
    live = LiveView(door.service.endpoints["alarms"], server_key=str(door.folder / "service.key"),
                    key_file=door.folder / "reader.key_secret")
    time.sleep(0.3)
    device = door.dealer()
    device.send(frame(0))
    assert live.next(10) is not None
    live.close()
    with door.feed("reader") as reader, door.feed("operator") as operator:
        alarm = until(lambda: reader.read(after=0)[0])[0]
        with pytest.raises(FeedRefused, match="commands are an operator's"):
            reader.command(alarm.alarm_id, "confirm", actor="Wang")
        (confirmed,) = operator.command(alarm.alarm_id, "confirm", actor="Wang")
        assert confirmed.handling == "confirmed"
        assert "operator/Wang" in str(msgspec.to_builtins(confirmed))


def test_secrets_are_in_no_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with running(load_city(written(tmp_path))) as service:
        door = Door(service, tmp_path / "keys")
        dealers = [door.dealer(name) for name in ("stranger", "logger")]
        for dealer in dealers:
            dealer.send(frame(0, device=8))
        until(lambda: service._guard.counts["key"] and service._guard.counts["not-its-device"])  # type: ignore[union-attr]
        door.close()
    said = "".join(capfd.readouterr())
    assert "refused-key" in said and "client=logger" in said
    for path in (tmp_path / "keys").glob("*.key_secret"):
        assert read_keys(path).secret.decode() not in said


def test_a_check_warns_of_keys_nobody_looks_at(tmp_path: Path) -> None:
    (tmp_path / "city.toml").write_text(city_text(tmp_path) + f"[client.a]\nkey = '{Z}'\ndevices = [7]\n")
    assert any(w.startswith("security.mode: the keys of [client.*]") for w in check_city(tmp_path / "city.toml").warnings)
