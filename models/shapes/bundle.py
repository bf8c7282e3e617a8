"""Writes artifacts so that the same content gives the same bytes, and their descriptions beside them."""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any


def write_artifact(folder: Path, file_name: str, content: bytes, description: dict[str, Any]) -> None:
    """`folder/file_name` and `folder/description.json`; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file_name).write_bytes(content)
    (folder / "description.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def flat_archive(folder: Path) -> bytes:
    """A `.tar.gz` of the folder's content, without the folder itself: sorted, without times or owners."""
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(path.read_bytes()))
    return gzip.compress(tarred.getvalue(), compresslevel=9, mtime=0)
