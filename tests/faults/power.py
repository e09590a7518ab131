"""The power goes: un-synced writes are lost, the journal of the file system is played back, the service starts on what is left.

The service's folder is an ext4 of its own on a loop device. `Disk.cut` shuts the file system down where it stands
(FS_IOC_SHUTDOWN without a flush of its log): nothing that had not reached the device comes back, and everything after
that moment is refused with EIO. The process is stopped before, and killed behind it, so that it says nothing which it knows
of after the cut; then the file system is mounted again as after a power cut.

It needs the superuser, a loop device and mkfs.ext4; `power_works` says what is missing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lifeline_core.model import NS
from lifeline_core.service.feed import FeedRefused
from tests.faults.course import Broken, Course, Process, where
from tests.faults.stage import SETTLE_S, expect
from tests.service_city import T0

SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN, _IOR('X', 125, u32), of linux/fs.h and xfs_fs.h
NO_FLUSH = struct.pack("I", 2)  # EXT4_GOING_FLAGS_NOLOGFLUSH
MIB, FULL_MIB = 256, 64
FULL_S = 6.0
BUSY_S = 20.0
Tell = Callable[[str], None]


class Disk:
    """An ext4 in a file, mounted at ``at``."""

    def __init__(self, image: Path, at: Path, mib: int) -> None:
        self.image, self.at = image, at
        with image.open("wb") as file:
            file.truncate(mib << 20)
        _run("mkfs.ext4", "-q", "-F", str(image))
        at.mkdir()
        self.mount()

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.at))

    def unmount(self) -> None:
        """A process that was killed lets go of its maps a moment later."""
        until = time.monotonic() + BUSY_S
        while True:
            try:
                return _run("umount", str(self.at))
            except Broken:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def cut(self) -> None:
        fd = os.open(self.at, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, NO_FLUSH)
        finally:
            os.close(fd)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Broken(f"{' '.join(command)}: {done.stderr.strip()}")


@contextmanager
def disk(folder: Path, mib: int = MIB) -> Iterator[Disk]:
    """Mounted at ``folder / "data"`` until the end, however that comes."""
    made = Disk(folder / "disk.img", folder / "data", mib)
    try:
        yield made
    finally:
        with contextlib.suppress(Broken):
            made.unmount()


def power_works() -> str:
    """Why it cannot be done here; empty where it can."""
    if os.geteuid():
        return "mounting a file system needs the superuser"
    if missing := [name for name in ("mkfs.ext4", "mount", "umount") if not shutil.which(name)]:
        return f"{', '.join(missing)} not installed"
    with tempfile.TemporaryDirectory(prefix="ll") as name:
        try:
            with disk(Path(name)) as probe:
                probe.cut()
        except (Broken, OSError) as error:
            return f"no file system can be mounted and shut down here: {error}"
    return ""


class Bill:
    """What cuts cost one life: frames that were acknowledged and are gone, alarms that were published and are gone."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.lost: list[int] = []

    def look(self) -> None:
        """Ask the service that began again.

        Raises
        ------
        Broken
            An alarm that was published is not in the feed as it was, or numbers have holes.
        """
        course, acknowledged = self.course, self.course.acked + 1
        with course.feed() as feed:
            frames = course.settled(feed)["frames"]
            course.check_feed(feed)
        self.lost.append(max(0, acknowledged - sum(self.lost) - frames))


def _freeze(process: Process) -> None:
    """Nothing is said any more from here on: a sync that is under way when the file system goes may still seem to succeed."""
    os.killpg(process.popen.pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{process.popen.pid}/task")
    until = time.monotonic() + BUSY_S
    while any(_state(task) in "RS" for task in tasks.iterdir()):
        if time.monotonic() > until:
            raise Broken("the service cannot be stopped")
        time.sleep(0.001)


def _state(task: Path) -> str:
    """R running, S sleeping, D in the middle of a call to the disk, T stopped; of one that has ended, too."""
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "T"


def _confirm(course: Course, process: Process) -> None:
    """An operator's step that no frame follows: what it changed is in no acknowledgement, only in the feed."""
    operator, told = course.operator, course.consumer.told
    assert operator is not None
    last = (course.sent // 3 + 1) * 3  # a second above the limit
    course.drive(last + 1, process)
    until = time.monotonic() + SETTLE_S
    while (identity := next((a.alarm_id for a in list(told.values()) if a.onset_ns == T0 + last * NS), "")) == "":
        if time.monotonic() > until:
            raise Broken("the alarm of the last frame did not come")
        time.sleep(0.01)
    with course.feed() as feed, contextlib.suppress(FeedRefused):  # he was there before
        feed.command(identity, "confirm", actor=operator.ACTOR)
        operator.answered.add(identity)


def power(durability: str, times: int, seed: int, tell: Tell) -> dict[str, object]:
    """``times`` cuts at random moments of one life under load, and what they cost.

    With "disk" nothing that was acknowledged may be missing, and the alarms are those of an engine that met no cut. With
    the others what is missing is counted. With each, what was published is in the feed, once, and so is every step of an
    operator that was answered; before every other cut that is the last thing there was.
    """
    rng = random.Random(seed)
    with ExitStack() as life:
        folder = life.enter_context(where(f"power, {durability}"))
        data = life.enter_context(disk(folder))
        course = life.enter_context(Course(folder, operated=True, durability=f'"{durability}"'))
        bill = Bill(course)
        for k in range(times):
            process = course.start()
            if not process.ready():
                raise Broken(f"it does not start after cut {k}")
            bill.look()
            course.load(process, rng.expovariate(1 / 0.6))
            if k % 2:
                _confirm(course, process)
            _freeze(process)
            data.cut()
            process.end(signal.SIGKILL)
            data.unmount()
            data.mount()
            if k % 20 == 19:
                tell(f"{durability}: {k + 1} cuts, {course.acked + 1} frames acknowledged, {sum(bill.lost)} of them lost")
        said: dict[str, object] = {"cuts": times}
        if durability == "disk":
            return said | course.finish(course.sent + 50)
        process = course.start()
        process.ready()
        bill.look()
        process.end(signal.SIGTERM)
        found = {"acknowledged": course.acked + 1, "lost": sum(bill.lost), "most at once": max(bill.lost)}
        return said | found | {"published": len(course.published)}


def full(tell: Tell) -> dict[str, object]:
    """The disk is full for seconds: devices are held back, the feed answers all the while, and with room nothing is missing."""
    with ExitStack() as life:
        folder = life.enter_context(where("full"))
        data = life.enter_context(disk(folder, FULL_MIB))
        course = life.enter_context(Course(folder))
        process = course.start()
        if not process.ready() or not course.drive(50, process):
            raise Broken("the service does not start")
        ballast = data.at / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        course.load(process, FULL_S)
        held_back_at = course.acked
        with course.feed() as feed:
            frames = feed.stats()["frames"]
        ballast.unlink()
        course.drive(course.sent + 50, process)
        said = course.check()
        expect("how the service ended", process.end(signal.SIGTERM), 0)
        expect("frames that were acknowledged while the disk was full and not read", max(0, held_back_at + 1 - frames), 0)
    tell(f"held back at frame {held_back_at}")
    return said | {"held back at": held_back_at}
