"""Signals with known truth are true."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import welch

from lifeline_core.pipes import PipeGraph
from lifeline_core.synth.bridge import bridge_acceleration, impact, mode_acceleration
from lifeline_core.synth.network import G, burst_heads, grid_network


def test_a_mode_under_a_step_is_the_textbook_one() -> None:
    """q'' of a damped oscillator after a unit step at rest: exp(-zeta w t) (cos w_d t - zeta w / w_d sin w_d t)."""
    f, z, fs = 1.5, 0.02, 100.0
    w = 2 * np.pi * f
    wd = w * np.sqrt(1 - z * z)
    t = np.arange(500) / fs
    exact = np.exp(-z * w * t) * (np.cos(wd * t) - z * w / wd * np.sin(wd * t))
    assert np.abs(mode_acceleration(f, z, fs, np.ones(500)) - exact).max() < 1e-9


def test_a_softer_bridge_is_lower() -> None:
    peaks = []
    for stiffness in (1.0, 0.81):
        x = bridge_acceleration(
            200 * 1200,
            200.0,
            f_hz=[1.2],
            damping=[0.005],
            shapes=[[1.0]],
            rms=0.1,
            rng=np.random.default_rng(1),
            stiffness=stiffness,
        )
        f, p = welch(x[0], 200.0, nperseg=16384)
        peaks.append(f[np.argmax(p)])
        assert x.std() == pytest.approx(0.1, rel=0.01)
    assert peaks[1] / peaks[0] == pytest.approx(0.9, abs=0.015)


def test_the_blow_begins_when_it_should() -> None:
    x = impact(1000, 100.0, at_s=3.0, peak=2.0)
    assert np.flatnonzero(x)[0] == 300


def test_waves_arrive_when_the_graph_says_and_as_high_as_joukowsky_says() -> None:
    net = grid_network()
    sensors = ["J00", "J03", "J11", "J20", "J22"]
    heads = burst_heads(net, 4.0, node="J12", at_s=1.0, flow_m3s=0.01, ramp_s=1 / net.fs, sensors=["J12", *sensors], loss=0.0)
    graph = PipeGraph.from_text(net.inp(), wave_speed=net.speed_mps)
    times = graph.travel_times("J12")
    places = {n: times[graph.node_index(n)] for n in sensors}
    for row, node in zip(heads[1:], sensors, strict=True):
        arrived = int(np.argmax(row < net.head_m - 1e-9)) / net.fs - 1.0
        assert abs(arrived - places[node]) <= 2 / net.fs, node
    admittance = sum(G * np.pi / 4 * p.diameter_m**2 / net.speed_mps for p in net.pipes if "J12" in (p.a, p.b))
    first = heads[0, int(1.0 * net.fs) + 2]
    flow = 0.01 * np.sqrt(first / net.head_m)
    assert net.head_m - first == pytest.approx(flow / admittance, rel=1e-6)  # the waves of all pipes share the orifice's flow
