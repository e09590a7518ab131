"""Key files of CURVE: made by `keygen`, read where a socket is opened. A secret key is never printed, logged or packed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth import create_certificates, load_certificate

from lifeline_core.errors import ConfigError

SECRET, PUBLIC = ".key_secret", ".key"


@dataclass(frozen=True, slots=True)
class Keys:
    """A pair of CURVE keys, Z85; ``secret`` is kept out of every print."""

    public: bytes
    secret: bytes = field(repr=False)


def make_keys(folder: str | os.PathLike[str], name: str) -> tuple[Path, Path]:
    """Write NAME.key (public, to hand out) and NAME.key_secret (mode 0600); both paths.

    Raises
    ------
    FileExistsError
        One of them is there already: a key is never written over.
    """
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    public, secret = where / f"{name}{PUBLIC}", where / f"{name}{SECRET}"
    for path in (public, secret):
        if path.exists():
            raise FileExistsError(f"{path} is there already: a key is never written over")
    before = os.umask(0o077)
    try:
        create_certificates(where, name)
    finally:
        os.umask(before)
    public.chmod(0o644)
    return public, secret


def read_keys(path: str | os.PathLike[str], key: str = "key_file") -> Keys:
    """The pair in a NAME.key_secret; ConfigError says under ``key`` what is wrong with the file."""
    try:
        public, secret = load_certificate(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise ConfigError([f"{key}: must be a key file of lifeline-core keygen, {path}: {error}"]) from error
    if secret is None or len(secret) != 40 or len(public) != 40:
        raise ConfigError([f"{key}: must hold a public and a secret key of 40 characters each, {path}"])
    if os.name == "posix" and Path(path).stat().st_mode & 0o077:
        raise ConfigError([f"{key}: nobody but its owner may read a secret key (chmod 600), {path}"])
    return Keys(public, secret)


def read_public(path_or_key: str) -> bytes:
    """A public key: the 40 characters themselves, or a file NAME.key.

    Raises
    ------
    ConfigError
        It is neither.
    """
    if len(path_or_key) == 40 and not Path(path_or_key).exists():
        return path_or_key.encode("ascii", "replace")
    try:
        public, _ = load_certificate(path_or_key)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        rule = "must be 40 characters or a file of lifeline-core keygen"
        raise ConfigError([f"server key: {rule}, {path_or_key}: {error}"]) from error
    return public


def serve_curve(socket: zmq.Socket[bytes], keys: Keys, domain: str) -> None:
    """Before bind: only who shows an allowed key in ``domain`` gets in."""
    socket.curve_server = True
    socket.curve_secretkey = keys.secret
    socket.curve_publickey = keys.public
    socket.zap_domain = domain.encode()


def speak_curve(socket: zmq.Socket[bytes], server_key: str | None, key_file: str | os.PathLike[str] | None) -> None:
    """Before connect: talk to the owner of ``server_key`` only, as the owner of ``key_file``; plain where neither is given.

    Raises
    ------
    ConfigError
        One of them is missing or wrong.
    """
    if server_key is None and key_file is None:
        return
    if server_key is None or key_file is None:
        raise ConfigError(["CURVE needs both: the service's public key and a key file of one's own"])
    keys = read_keys(key_file, "key file")
    socket.curve_serverkey = read_public(server_key)
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
