"""Devices and the real service over a line that is cut, slow and half open, and a service that restarts: every sample once."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from lifeline_core.config import read_city
from lifeline_core.device import Device
from lifeline_core.engine import Engine
from lifeline_core.model import NS, Alarm
from lifeline_core.service import FeedClient, Service
from lifeline_core.service.certificates import make_keys, read_keys, read_public
from tests.proxy import Proxy
from tests.service_city import DEVICE, T0, N, city_text, frame, level, make_city, read_all, running, send_second, short_dir, until

__all__ = ["short_dir"]


def port_of(service: Service) -> int:
    return int(service.endpoints["ingest"].rsplit(":", 1)[1])


def bare(alarms: list[Alarm]) -> list[Alarm]:
    return [msgspec.structs.replace(a, seq=0, published_ns=0) for a in alarms]


def settled(service: Service, frames: int) -> dict[str, Any]:
    until(lambda: service.stats()["frames"] >= frames, what="the engine has not read every frame")
    return dict(service.stats())


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_line_that_fails_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    """Cut, slow and deaf at random; the engine has each sample once, in order, and says what it says without trouble."""
    rng = random.Random(seed)
    alone = Engine(make_city(tmp_path)).push([frame(s) for s in range(60)])
    with running(make_city(tmp_path)) as service, Proxy(port_of(service)) as proxy:
        with Device(proxy.endpoint, DEVICE, epoch=1, resend_s=0.3) as device:
            for second in range(60):
                send_second(device, second)
                chance = rng.random()
                if chance < 0.12:
                    proxy.cut()
                elif chance < 0.18:
                    proxy.go_deaf()
                proxy.delay_s = rng.choice([0.0, 0.0, 0.02])
                device.pump(rng.choice([0.0, 0.01, 0.05]))
            assert device.drain(60)
            assert (device.acked, device.refused) == (60, 0) and device.link.lost >= 3
        stats = settled(service, 60)
        assert (stats["frames"], stats["samples"], stats["gaps"], stats["lost_frames"]) == (60, 60 * N, 0, 0)
        assert (stats["backfilled"], stats["refused"]) == (0, {})
        with FeedClient(service.endpoints["feed"]) as feed:
            alarms = until(lambda: len(got := read_all(feed)) >= len(alone) and got)
        assert bare(alarms) == alone


def test_a_service_that_restarts_finds_every_frame_once(tmp_path: Path, short_dir: Path) -> None:
    """The second half is sent while nobody listens; the device notices the new service by itself."""
    city = read_city(city_text(tmp_path, ipc=short_dir))
    alone = Engine(city).push([frame(s) for s in range(40)])
    service = Service(city)
    service.start()
    with Device(service.endpoints["ingest"], DEVICE, epoch=1, resend_s=3600) as device:
        for second in range(20):
            send_second(device, second)
        until(lambda: device.pump(0.02) or device.acked > 5)
        service.stop()
        for second in range(20, 40):
            send_second(device, second)
        with running(city) as service:
            assert device.drain(20)  # resend_s would be an hour: it was the connection that told
            assert device.acked == 40
            with FeedClient(service.endpoints["feed"]) as feed:
                alarms = until(lambda: len(got := read_all(feed)) >= len(alone) and got)
            assert bare(alarms) == alone
            counted = service.stats()
            assert (counted["gaps"], counted["lost_frames"]) == (0, 0)


def test_back_fill_is_read_beside_the_present(tmp_path: Path) -> None:
    """After a long outage: the present has one gap, all of the past is in the history lane, its alarms say historical."""
    with running(make_city(tmp_path)) as service, Proxy(port_of(service)) as proxy:
        with Device(proxy.endpoint, DEVICE, epoch=1) as device:
            for second in range(5):
                send_second(device, second, 1.0)
            assert device.drain(10)
            proxy.refusing = True
            proxy.cut()
            until(lambda: device.pump(0.01) or device.link.lost)
            for second in range(5, 65):
                send_second(device, second, 60.0 if second == 30 else 1.0)
            for kept in device._flow.backlog.live:
                kept.taken -= 3600.0
            for second in range(65, 70):
                send_second(device, second, 1.0)
            proxy.refusing = False
            until(lambda: device.pump(0.01) or device.link.made == 2)
            assert device.drain(20) and device.acked == 70
        stats = settled(service, 70)
        assert (stats["frames"], stats["samples"], stats["backfilled"], stats["gaps"]) == (70, 700, 60, 1)
        assert (stats["lost_samples"], stats["lost_frames"], stats["overlap_samples"]) == (600, 0, 0)
        with FeedClient(service.endpoints["feed"]) as feed:
            alarms = until(lambda: len(got := read_all(feed)) >= 2 and got)
        assert {a.historical for a in alarms} == {True}
        assert [(a.onset_ns - T0) // NS for a in alarms if a.revision == 1] == [30]


def test_a_killed_device_goes_on_with_a_service_that_knows_it(tmp_path: Path) -> None:
    """The process dies with frames sent and unsent; the next one has its spool, and nothing is lost or doubled."""
    with running(make_city(tmp_path / "service")) as service, Proxy(port_of(service)) as proxy:
        with Device(proxy.endpoint, DEVICE, spool=tmp_path / "a") as device:
            for second in range(10):
                send_second(device, second)
            until(lambda: device.pump(0.01) or device.acked >= 1)
            proxy.refusing = True
            proxy.cut()
            for second in range(10, 20):
                send_second(device, second)
            shutil.copytree(tmp_path / "a", tmp_path / "b")  # what a kill -9 leaves
        proxy.refusing = False
        with Device(proxy.endpoint, DEVICE, spool=tmp_path / "b") as device:
            for second in range(20, 30):
                send_second(device, second)
            assert device.drain(20)
        stats = settled(service, 30)
        assert (stats["frames"], stats["samples"], stats["lost_frames"], stats["epochs"]) == (30, 30 * N, 0, 0)
        assert stats["gaps"] <= 1 and stats["overlap_samples"] == 0


def test_many_devices_come_back_at_once(tmp_path: Path) -> None:
    """Each over a connection of its own, cut together, while some are slow to pump."""
    text = city_text(tmp_path)
    for n in range(20):
        text += f'\n[channel.more-{n}]\nsite = "north"\ndevice = {100 + n}\nchannel = 0\nunit = "kPa"\nrate_hz = 10.0\n'
    with running(read_city(text)) as service, Proxy(port_of(service)) as proxy:
        devices = [Device(proxy.endpoint, 100 + n, epoch=1, resend_s=3600) for n in range(20)]
        try:
            for second in range(30):
                for device in devices:
                    device.send(np.full((1, N), level(second), np.float32), T0 + second * NS, rate=N)
                if second in (8, 16, 24):
                    proxy.cut()
            deadline = time.monotonic() + 30
            while any(device.unacked for device in devices):
                assert time.monotonic() < deadline
                for device in devices:
                    device.pump(0.0)
                time.sleep(0.002)
        finally:
            for device in devices:
                device.close()
        stats = settled(service, 600)
        assert (stats["frames"], stats["gaps"], stats["lost_frames"]) == (600, 0, 0)


def test_frames_of_the_boot_before_are_history(tmp_path: Path) -> None:
    """The service never met the old epoch. It must not take it for the newer one, or all that is live would be history."""
    with running(make_city(tmp_path / "service")) as service, Proxy(port_of(service), refusing=True) as proxy:
        with Device(proxy.endpoint, DEVICE, spool=tmp_path / "a", epoch=1) as device:
            for second in range(10):
                send_second(device, second, 1.0)
        proxy.refusing = False
        with Device(proxy.endpoint, DEVICE, spool=tmp_path / "a", epoch=2) as device:
            for second in range(20, 25):
                send_second(device, second, 60.0)
            assert device.drain(20)
            for second in range(25, 30):
                send_second(device, second, 60.0)
            assert device.drain(20)
        stats = settled(service, 20)
        assert (stats["frames"], stats["epochs"], stats["backfilled"]) == (20, 1, 9)  # one of the old ones came first of all
        with FeedClient(service.endpoints["feed"]) as feed:
            alarms = until(lambda: read_all(feed))
        assert [(a.historical, (a.onset_ns - T0) // NS) for a in alarms if a.revision == 1] == [(False, 20)]


def test_with_keys_a_device_gets_in_and_comes_back(tmp_path: Path) -> None:
    """The key pair of keygen, passed on to libzmq; a frame of a device that is not the key's own is refused by name."""
    (service_public, service_secret), (public, secret) = (make_keys(tmp_path, name) for name in ("service", "logger"))
    mine = read_keys(secret)
    text = city_text(tmp_path / "data") + f"[security]\nmode = 'curve'\nkey_file = '{service_secret}'\n"
    text += f"[client.logger]\nkey = '{read_public(str(public)).decode()}'\ndevices = [{DEVICE}]\n"
    keys = {"curve_publickey": mine.public, "curve_secretkey": mine.secret}
    with running(read_city(text)) as service, Proxy(port_of(service)) as proxy:
        keys["curve_serverkey"] = read_public(str(service_public))
        with Device(proxy.endpoint, DEVICE, epoch=1, resend_s=3600, **keys) as device:
            for second in range(10):
                send_second(device, second)
                if second == 5:
                    proxy.cut()
            assert device.drain(20) and (device.acked, device.refused) == (10, 0)  # the cut may have met a handshake
        with Device(proxy.endpoint, 99, epoch=1, **keys) as device:
            send_second(device, 0)
            assert device.drain(20) and (device.refused, list(device.reasons)) == (1, ["not-its-device"])
        with Device(proxy.endpoint, DEVICE, epoch=1) as device:
            send_second(device, 0)
            assert not device.drain(0.5) and device.link.made == 0
