"""Text files that people write: a network, a layout."""

from __future__ import annotations

from pathlib import Path

from lifeline_core.errors import ConfigError
from lifeline_core.fields import why


def read_text(file: Path) -> str:
    """The text of a UTF-8 file; ConfigError names the file and says why it cannot be read."""
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: must be a readable file of UTF-8 text, {why(error)}"]) from error
