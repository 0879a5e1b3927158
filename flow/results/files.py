"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """An open file beside `path` that is renamed to it at the end, or removed on any failure.

    A kill at any moment leaves the old file or the new one, with the permissions that a new file
    gets from the umask. Raises OSError if the folder is missing or cannot be written.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(aside, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text as UTF-8, the file replaced only once all of it is there.

    Raises OSError as `written_aside` does.
    """
    with written_aside(path) as file:
        file.write(text.encode())
