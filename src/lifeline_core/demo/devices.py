"""The demo's devices: each site's in a process of its own, over the socket, as strangers would."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core import wire
from lifeline_core.demo import plan
from lifeline_core.model import NS
from lifeline_core.service.device import Device
from lifeline_core.synth.bridge import bridge_acceleration, impact
from lifeline_core.synth.leaknoise import LeakNoise
from lifeline_core.synth.network import burst_heads
from lifeline_core.synth.slow import slow_signal

SHAPES = np.array([[0.6, 1.0, 0.9], [1.0, 0.3, -1.0], [1.0, -0.4, 0.8], [0.6, -1.0, -0.3]])
Signal = tuple[float, NDArray[Any]]  # rate and counts [n_channels, n]; rate 0: times [s] and values


def _bridge(d: plan.Device, rng: np.random.Generator) -> Signal:
    o, fs, n = d.options, 200.0, int(d.length_s * 200)
    given = {"f_hz": o["f_hz"], "damping": o["damping"], "shapes": SHAPES, "rms": o["rms"], "rng": rng}
    x = bridge_acceleration(n, fs, **given)
    if "stiffness_from" in o:
        at, left = o["stiffness_from"]
        x[:, int(at * fs) :] = bridge_acceleration(n, fs, **given, stiffness=left)[:, int(at * fs) :]
    if "impact" in o:
        at, peak = o["impact"]
        x += np.array([[0.6], [1.0], [0.8], [0.5]]) * impact(n, fs, at_s=at, peak=peak)
    if "loud" in o:
        begin, end, factor = o["loud"]
        at = np.arange(n) / fs
        x *= 1 + (factor - 1) * np.clip(np.minimum((at - begin) / 60.0, (end - at) / 60.0), 0, 1)  # galloping builds up
    return fs, np.rint(x / plan.SCALE["bridge"]).astype(np.int32)


def _pressure(d: plan.Device, rng: np.random.Generator) -> Signal:
    net = plan.network()
    head = burst_heads(
        net, d.length_s, node=plan.BURST_NODE, at_s=plan.BURST_S, flow_m3s=plan.BURST_FLOW, sensors=[d.options["sensor"]]
    )
    return net.fs, np.rint((head + rng.normal(0, 0.02, head.shape)) / plan.SCALE["pressure"]).astype(np.int32)


def _leak(d: plan.Device, rng: np.random.Generator) -> Signal:
    fs = 2048.0
    n = int(d.length_s * fs)
    if not d.options["leaking"]:
        return fs, rng.normal(0, 1, (1, n)).astype(np.float32)
    pipe = LeakNoise(
        fs=fs, length_m=plan.LEAK_LENGTH_M, position_m=plan.LEAK_AT_M, speed_mps=plan.LEAK_SPEED, beta_s_m=7.25e-5, snr_db=3.0
    )
    return fs, pipe.whole(n, rng=30)[d.options["side"]][None, :]  # the same seed at both sides: they hear the same leak


def _slow(d: plan.Device, rng: np.random.Generator) -> Signal:
    o = d.options
    t = np.arange(0.0, d.length_s, plan.SLOW_STEP_S) + rng.uniform(0, 2)
    at, to, rise = o.get("event", (None, 0.0, 1.0))
    x = slow_signal(
        t, level=o["level"], swing=o.get("swing", 0.0), noise=o["noise"], rng=rng, event_at_s=at, event_to=to, rise_s=rise
    )
    return 0.0, np.stack([t, x])


SIGNALS: dict[str, Callable[[plan.Device, np.random.Generator], Signal]] = {
    "bridge": _bridge,
    "pressure": _pressure,
    "leak": _leak,
    "slow": _slow,
}


def frames_of(d: plan.Device, t0_ns: int, seed: int) -> list[tuple[float, int, bytes]]:
    """(share of the device's life, time of the last sample, frame) of everything it will send."""
    fs, x = SIGNALS[d.plays](d, np.random.default_rng([seed, d.number]))
    out: list[tuple[float, int, bytes]] = []
    n = 1 if fs == 0 else int(fs * d.frame_s)
    for seq, k in enumerate(range(0, x.shape[1], n)):
        part = x[:, k : k + n]
        if fs == 0:
            t_ns = t0_ns + int(part[0, 0] * NS)
            frame = wire.pack(part[1:], device=d.number, seq=seq, sample_index=k, t_ns=[[t_ns]])
            end_s = float(part[0, 0])
        else:
            encoding = 2 if d.plays == "bridge" else None
            begin = t0_ns + int(k / fs * NS)
            frame = wire.pack(part, device=d.number, seq=seq, sample_index=k, t0_ns=begin, rate=fs, encoding=encoding)
            end_s = (k + part.shape[1]) / fs
        share = end_s / d.length_s
        if share <= d.silent_after:
            out.append((share, t0_ns + int(end_s * NS), frame))
    return out


def garbage(rng: np.random.Generator, count: int) -> list[bytes]:
    """Messages no device should send: noise, cut and bent frames, lying lengths, maps that are no frames."""
    good = bytearray(wire.pack(rng.integers(-999, 999, (4, 200)).astype(np.int16), device=11, rate=200, t0_ns=NS))
    out = []
    for i in range(count):
        bent = bytearray(good)
        bent[int(rng.integers(0, len(bent)))] ^= 1 << int(rng.integers(0, 8))
        cut = bytes(good[: int(rng.integers(0, len(good) - 1))])
        lying = bytearray(good)
        lying[56:60] = rng.bytes(4)
        out.append([rng.bytes(int(rng.integers(0, 300))), bytes(bent), cut, bytes(lying), b"\x82\xa1v\x01\xa4what\xa3ever"][i % 5])
    return out


def play_site(site: str, endpoint: str, t0_ns: int, seed: int, ready: Any, start_at: Any, wall_s: float, sent: Queue[Any]) -> None:
    """One process: prepare every frame of a site's devices, wait for the start, send each when it is due."""
    devices = {d.number: (d, Device(endpoint, d.number)) for d in plan.DEVICES if d.site == site}
    due = sorted(
        (share * wall_s, n, end_ns, frame) for n, (d, _) in devices.items() for share, end_ns, frame in frames_of(d, t0_ns, seed)
    )
    ready.release()
    while start_at.value == 0.0:
        time.sleep(0.02)
    log: list[tuple[int, int, int]] = []
    for at, number, end_ns, frame in due:
        client = devices[number][1]
        while (wait := start_at.value + at - time.time()) > 0:
            client.pump(min(wait, 0.05))
        log.append((number, end_ns, time.time_ns()))
        client.send_frame(frame)
    good = all(client.drain(10.0) for _, client in devices.values())
    sent.put((site, len(due), good, log))
    for _, client in devices.values():
        client.close()


def play_garbage(endpoint: str, seed: int, ready: Any, start_at: Any, wall_s: float, sent: Queue[Any]) -> None:
    """The broken device."""
    messages = garbage(np.random.default_rng(seed), plan.GARBAGE)
    client = Device(endpoint, 99)
    ready.release()
    while start_at.value == 0.0:
        time.sleep(0.02)
    for k, message in enumerate(messages):
        while (wait := start_at.value + k / len(messages) * wall_s * 0.9 - time.time()) > 0:
            client.pump(min(wait, 0.05))
        while not client.send_raw(message):
            time.sleep(0.005)
    time.sleep(0.5)
    sent.put(("garbage", len(messages), True, []))
    client.close()
