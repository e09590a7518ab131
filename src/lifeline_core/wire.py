"""Bytes to Frame and Alarm, and back: LLF1 device frames, the gateways' msgpack form, alarms, captures.

What a device sent is data, not a fault of this program: a decoder answers a Frame or a Refusal that states the rule and
the value, and never raises for what stands in the bytes. The offset table is in ``kernels/wire.c``; here the bytes get
their meaning.

>>> frame = decode(pack(np.array([[1, -2, 3]], np.int16), device=17, t0_ns=0, rate=200))
>>> frame.device, frame.encoding, frame.samples.tolist()
(17, 1, [[1, -2, 3]])
>>> decode(b"LLF1").text
'a frame has at least 64 bytes, got 4'
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal

import msgpack
import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

import lifeline_core._wire as _wire
from lifeline_core.model import FLAG_LOCKED, Alarm, Frame

DATA, HELLO, BYE, HEALTH = 0, 1, 2, 3
INT16, INT24, INT32, FLOAT32, FLOAT64, TIMED, PACKED = 1, 2, 3, 4, 5, 6, 16
HEADER_LEN, MAX_HEADER_LEN = 64, 248
MAGIC = b"LLF1"
REFUSALS: tuple[str, ...] = _wire.REFUSALS
WIDTH = {INT16: 2, INT24: 3, INT32: 4, FLOAT32: 4, FLOAT64: 8, TIMED: 16}  # bytes of a sample; PACKED has no width of its own

_BY_DTYPE = {"i2": INT16, "i4": INT32, "f4": FLOAT32, "f8": FLOAT64}
_MOST_PACKED = 1 << 24  # LL_PACKED_MOST: a byte may stand for 128 samples, and memory must stay bounded
_MOST = 2**63 - 1  # of times, indices and sequence numbers: everything behind the wire counts them in signed 64 bits
# What a sender says of a frame, with its smallest and greatest value, in the order of the header.
_FIELDS: dict[str, tuple[int, int]] = {
    "type": (0, 255), "encoding": (0, 255), "flags": (0, 255), "device": (0, 2**32 - 1), "channel": (0, 65535),
    "n_channels": (0, 65535), "epoch": (0, 2**32 - 1), "clock_sd_us": (0, 2**32 - 1), "seq": (0, _MOST),
    "sample_index": (0, _MOST), "t0_ns": (0, _MOST), "rate_num": (0, 2**32 - 1), "rate_den": (0, 2**32 - 1),
    "n_samples": (0, 2**32 - 1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why bytes are not a frame: ``reason`` is the counter's word, one of REFUSALS; ``text`` states rule and value."""

    reason: str
    text: str


def decode(data: bytes | bytearray | memoryview) -> Frame | Refusal:
    """One LLF1 frame as a Frame that owns its samples, or the Refusal that says why it is none.

    Parameters
    ----------
    data : bytes-like
        Exactly one frame.

    Returns
    -------
    Frame or Refusal
        Samples in the device's own dtype, int24 widened and packed samples unpacked to int32; ``rate_num`` is 0 for timed samples.
    """
    word, header = _wire.look(data)
    if word:
        return _refusal(word, bytes(data), header)
    header_len, *values, _crc = header
    said = dict(zip(_FIELDS, values, strict=True))
    extensions = _extensions(bytes(data[HEADER_LEN:header_len]))
    if isinstance(extensions, Refusal):
        return extensions
    if said["type"] == DATA:
        samples, t_ns = _wire.samples(data)
        return Frame(**said, samples=samples, t_ns=t_ns, extensions=extensions)
    none = np.empty((said["n_channels"], 0), _wire.RAW.get(said["encoding"], np.float32))
    return Frame(**said, samples=none, extensions=extensions, body=bytes(data[header_len:]))


def encode(frame: Frame) -> bytes:
    """One Frame as LLF1 bytes; ``decode`` gives it back.

    Raises
    ------
    ValueError
        A field out of its range, samples that do not fit the encoding or the counts, or what ``decode`` would refuse.
    """
    for name, (least, most) in _FIELDS.items():
        if not least <= getattr(frame, name) <= most:
            raise ValueError(f"{name} must be from {least} to {most}, got {getattr(frame, name)}")
    counts = (frame.n_channels, frame.n_samples)
    if frame.samples.shape != counts:
        raise ValueError(f"samples must have the header's shape {counts}, got {frame.samples.shape}")
    payload = frame.body if frame.type else _payload(frame.encoding, frame.samples, frame.t_ns)
    said = {name: getattr(frame, name) for name in _FIELDS}
    out: bytes = _wire.pack(payload, _extension_bytes(frame.extensions), **said)
    refused = _refused(out)
    if refused is not None:
        raise ValueError(f"{refused.reason}: {refused.text}")
    return out


def pack(
    samples: ArrayLike | None = None,
    *,
    device: int,
    seq: int = 0,
    sample_index: int = 0,
    t0_ns: int | None = None,
    rate: float | Fraction | tuple[int, int] | None = None,
    channel: int = 0,
    epoch: int = 1,
    encoding: int | None = None,
    flags: int = FLAG_LOCKED,
    clock_sd_us: int = 0,
    type: int = DATA,
    t_ns: ArrayLike | None = None,
    extensions: Mapping[str, Any] | None = None,
    body: bytes = b"",
) -> bytes:
    """Samples as one LLF1 frame, in one call.

    Parameters
    ----------
    samples : array_like, shape (n_channels, n_samples) or (n_samples,)
        In the device's own counts or values. None for a hello, bye or state of health, which carry ``body``.
    t0_ns : int
        UTC nanoseconds of the first sample; may be left out for timed samples.
    rate : number, Fraction or (num, den)
        Samples per second; a float means the nearest fraction with a denominator up to 10**6. None if timed.
    encoding : int
        1 int16, 2 int24, 3 int32, 4 float32, 5 float64, 6 timed, 16 packed int32; by default what the dtype says.
    t_ns : array_like of int64, shape of samples
        Times of irregular samples: the frame is a timed one.

    Raises
    ------
    ValueError
        Whatever ``encode`` raises, or a dtype with no encoding of its own.
    """
    times = None if t_ns is None else np.atleast_2d(np.asarray(t_ns, np.int64))
    if samples is None:
        x: NDArray[Any] = np.empty((0, 0), np.float32)
    else:
        x = np.atleast_2d(np.asarray(samples))
    if encoding is None:
        encoding = TIMED if times is not None else 0 if type != DATA else _BY_DTYPE.get(x.dtype.str[1:], 0)
        if not encoding and type == DATA:
            raise ValueError(f"encoding must be given but for int16, int32, float32 or float64, got {x.dtype}")
    if t0_ns is None:
        t0_ns = int(times[0, 0]) if times is not None and times.size else 0
    num, den = _ratio(rate)
    return encode(Frame(
        type=type, encoding=encoding, flags=flags, device=device, channel=channel, n_channels=x.shape[0], epoch=epoch,
        clock_sd_us=clock_sd_us, seq=seq, sample_index=sample_index, t0_ns=t0_ns, rate_num=num, rate_den=den,
        n_samples=x.shape[1], samples=x, t_ns=times, extensions=extensions or {}, body=body))  # fmt: skip


def _ratio(rate: float | Fraction | tuple[int, int] | None) -> tuple[int, int]:
    """A rate in Hz as the header's exact rational; none is 0/1."""
    if rate is None:
        return 0, 1
    if isinstance(rate, tuple):
        return rate
    exact = Fraction(rate).limit_denominator(1_000_000)
    return exact.numerator, exact.denominator


def _payload(encoding: int, samples: NDArray[Any], t_ns: NDArray[np.int64] | None) -> bytes:
    """Samples, channel after channel, as the encoding says; ValueError where a value would not survive it."""
    if encoding not in WIDTH and encoding != PACKED:
        raise ValueError(f"encoding must be 1 to 6 or 16, got {encoding}")
    if (t_ns is not None) != (encoding == TIMED):
        raise ValueError(f"encoding 6 and no other has times; got encoding {encoding} with{'out' * (t_ns is None)}")
    if t_ns is not None:
        if t_ns.shape != samples.shape:
            raise ValueError(f"t_ns must have the shape of samples {list(samples.shape)}, got {list(t_ns.shape)}")
        pairs = np.empty(samples.shape, _wire.TIMED)
        pairs["t_ns"], pairs["value"] = t_ns, samples
        return pairs.tobytes()
    if encoding in (FLOAT32, FLOAT64):
        return samples.astype(_wire.RAW[encoding]).tobytes()
    if samples.dtype.kind not in "iu":
        raise ValueError(f"encoding {encoding} carries integers, got samples of dtype {samples.dtype}")
    half = 1 << (8 * WIDTH.get(encoding, 4) - 1)
    if samples.size and not (-half <= int(samples.min()) and int(samples.max()) < half):
        raise ValueError(f"encoding {encoding} carries {-half} to {half - 1}, got {samples.min()} to {samples.max()}")
    raw = samples.astype(_wire.RAW[encoding])
    if encoding == PACKED:
        packed: bytes = _wire.squeeze(np.ascontiguousarray(raw)) if raw.size else b""
        return packed
    if encoding == INT24:
        return np.ascontiguousarray(raw)[..., None].view(np.uint8)[..., :3].tobytes()
    return raw.tobytes()


def _extensions(area: bytes) -> dict[str, Any] | Refusal:
    """The msgpack map between the 64 bytes and header_len; it is followed by zeros up to a multiple of 8."""
    if not area:
        return {}
    rule = "header extensions must be one msgpack map with text keys, then zeros"
    try:
        unpacker = msgpack.Unpacker(strict_map_key=True)
        unpacker.feed(area)
        found = unpacker.unpack()
        rest = area[unpacker.tell() :]
    except (ValueError, msgpack.UnpackException) as fault:
        return Refusal("extension", f"{rule}, got {area.hex()} ({type(fault).__name__})")
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found) or any(rest):
        return Refusal("extension", f"{rule}, got {area.hex()}")
    return found


def _extension_bytes(extensions: Mapping[str, Any]) -> bytes:
    if not extensions:
        return b""
    area: bytes = msgpack.packb(dict(extensions))
    area += bytes(-len(area) % 8)
    if len(area) > MAX_HEADER_LEN - HEADER_LEN:
        raise ValueError(f"header extensions must fit {MAX_HEADER_LEN - HEADER_LEN} bytes, got {len(area)}")
    return area


def _refused(data: bytes) -> Refusal | None:
    """What decode would refuse, without making arrays."""
    word, header = _wire.look(data)
    if word:
        return _refusal(word, data, header)
    found = _extensions(data[HEADER_LEN : header[0]])
    return found if isinstance(found, Refusal) else None


def _refusal(word: str, data: bytes, header: tuple[int, ...] | None) -> Refusal:
    return Refusal(word, _RULES[word](data, dict(zip(_wire.FIELDS, header or (), strict=False))))


def _sum(data: bytes) -> int:
    return int(_wire.crc32c(data[:60] + bytes(4) + data[HEADER_LEN:]))


def _told(h: Mapping[str, int], *names: str) -> str:
    return "got " + ", ".join(f"{name} {h[name]}" for name in names)


def _needed(h: Mapping[str, int]) -> int:
    return h["n_channels"] * h["n_samples"] * WIDTH.get(h["encoding"], 0)


# The rule behind each word, and the value that broke it; h holds the header's fields once they could be read.
_RULES: dict[str, Callable[[bytes, dict[str, int]], str]] = {
    "short": lambda d, h: f"a frame has at least {HEADER_LEN} bytes, got {len(d)}",
    "magic": lambda d, h: f"a frame begins with LLF1, got {d[:4]!r}",
    "header-len": lambda d, h: f"header_len must be a multiple of 8 from {HEADER_LEN} to all {len(d)}, got {d[4]}",
    "crc": lambda d, h: f"crc32c must be the sum over the frame, 0x{_sum(d):08x}, got 0x{h['crc32c']:08x}",
    "type": lambda d, h: f"type must be 0 data, 1 hello, 2 bye or 3 state of health, got {h['type']}",
    "encoding": lambda d, h: f"encoding must be 1 to 6 or 16, or 0 where there are no samples, got {h['encoding']}",
    "flags": lambda d, h: f"flags may use bits 0 to 4, got 0x{h['flags']:02x}",
    "rate": lambda d, h: (
        "rate_num / rate_den must be above 0, or 0/1 with encoding 6; "
        f"got {h['rate_num']}/{h['rate_den']} with encoding {h['encoding']}"
    ),
    "shape": lambda d, h: (
        "data has channels and samples, other types n_samples 0 and seq 0; channel + n_channels is at most 65536; "
        + _told(h, "type", "channel", "n_channels", "n_samples", "seq")
    ),
    "length": lambda d, h: (
        "the payload must be n_channels x n_samples in its encoding, and a state of health must have one; "
        + _told(h, "type", "n_channels", "n_samples", "encoding")
        + (f": {_needed(h)} bytes" if h["encoding"] != PACKED else ": packed blocks")
        + f", payload {len(d) - h['header_len']} bytes"
    ),
    "packed": lambda d, h: (
        f"a packed frame has at most {_MOST_PACKED} samples, each channel int32 x0, then blocks of 0 to 32 bits a code, "
        "padded with zeros; " + _told(h, "n_channels", "n_samples")
    ),
    "time-order": lambda d, h: (
        "timed samples must increase strictly in every channel and begin at t0_ns in the first; "
        + _told(h, "t0_ns", "n_channels", "n_samples")
    ),
    "time-range": lambda d, h: (
        "times must be from 1970 on, and times, sample_index and seq stay below 2**63 to the frame's end; "
        + _told(h, "t0_ns", "sample_index", "seq", "n_samples", "rate_num", "rate_den")
    ),
}

_Gateway = msgspec.defstruct(
    "_Gateway",
    [
        ("v", Literal[1]),
        *((name, Annotated[int, msgspec.Meta(ge=least, le=most)]) for name, (least, most) in _FIELDS.items()),
        ("samples", bytes),
    ],
    forbid_unknown_fields=True,
)
_gateway = msgspec.msgpack.Decoder(_Gateway)
_alarms = msgspec.msgpack.Decoder(Alarm)


def from_gateway(data: bytes) -> bytes | Refusal:
    """A gateway's msgpack map as the LLF1 frame it means.

    The map is ``{"v": 1, ...the header's fields without magic, header_len and crc32c..., "samples": bin}``: every key
    is given and no other; ``samples`` is the payload as LLF1 has it (the body, for types 1 to 3).

    Returns
    -------
    bytes or Refusal
        ``gateway`` for a map that is not of this form; otherwise what ``decode`` would refuse, by its own word.
    """
    try:
        said = msgspec.structs.asdict(_gateway.decode(data))
    except (msgspec.MsgspecError, ValueError, RecursionError) as fault:
        return Refusal("gateway", f"a gateway sends one msgpack map of v 1, the header's fields and samples: {fault}")
    del said["v"]
    out: bytes = _wire.pack(said.pop("samples"), b"", **said)
    return _refused(out) or out


def alarm_to_bytes(alarm: Alarm) -> bytes:
    """An alarm as the msgpack map of the live view and the feed."""
    return msgspec.msgpack.encode(alarm)


def alarm_from_bytes(data: bytes) -> Alarm:
    """The alarm in a msgpack map; keys of later versions are passed over. ValueError for anything that is not one."""
    try:
        return _alarms.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as fault:
        raise ValueError(f"an alarm must be one msgpack map with the keys of model.Alarm: {fault}") from fault


class Capture:
    """The frames of a capture as ``(offset, length)``; ``skipped`` lists the stretches passed over so far, likewise."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self.skipped: list[tuple[int, int]] = []
        self._data = data
        self._at = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return self

    def __next__(self) -> tuple[int, int]:
        offset, length = _wire.next_frame(self._data, self._at)
        if offset > self._at:
            self.skipped.append((self._at, offset - self._at))
        self._at = offset + length
        if not length:
            raise StopIteration
        return offset, length


def read_capture(data: bytes | bytearray | memoryview) -> Capture:
    """The frames of an ``.llf`` capture, which stand back to back.

    Only stretches whose CRC is right are given out (they may still be refused for what they say). After anything else
    the reading goes on at the next magic, and what lay between is noted in ``skipped``.

    >>> one = pack(np.zeros((1, 4), np.int16), device=1, t0_ns=0, rate=10)
    >>> capture = read_capture(one + b"noise" + one)
    >>> list(capture), capture.skipped
    ([(0, 72), (77, 72)], [(72, 5)])
    """
    return Capture(data)
