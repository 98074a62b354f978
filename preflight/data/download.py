"""Fetch an archive of rows from an https address: resumed after a cut, tried again with back-off, verified against its checksum."""

import errno
import hashlib
import os
import re
import shutil
import time
import urllib.parse
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from preflight.config.secrets import masked_text
from preflight.files import Progress, read_content, write_atomic
from preflight.findings import Finding, disk_trouble

if TYPE_CHECKING:  # it is imported where something is fetched: a third of a second
    import httpx

ATTEMPTS = 5
FIRST_WAIT = 1.0  # seconds; doubled after each failed attempt
TIMEOUT = 30  # seconds without a byte
SPARE, EVERY = 1 << 30, 1 << 26  # bytes of the disk that no download takes; bytes between two looks at it
HERE = ("localhost", "127.0.0.1", "::1")
AGENT = {"User-Agent": "sql-codegen-slm-preflight", "Accept-Encoding": "identity"}


class _RefusedError(Exception):
    """The address will not give the file, however often it is asked; says why."""


def unsafe(address: str) -> str:
    """Why an address is not fetched from, or ''."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in HERE):
        return ""
    return "only https is fetched from; anyone between could change what http brings"


def fetch(address: str, sha256: str, folder: Path, progress: Progress) -> tuple[Path | None, list[Finding]]:
    """The archive at `address` below `folder`, fetched now or before and still what the address has, with its checksum beside it where
    there is one.

    A part that an earlier attempt left is continued. `sha256` ("" if not given) outranks the checksum at `address`.sha256.
    """
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name
    if problem := unsafe(address) or ("" if name.endswith(".zip") else "the address does not end in .zip"):
        return None, [_failed(address, problem)]
    place = folder / hashlib.sha256(address.encode()).hexdigest()[:16]
    target = place / name
    findings: list[Finding] = []
    try:
        with _client() as client:
            place.mkdir(parents=True, exist_ok=True)
            expected = sha256 or _checksum_at(client, f"{address}.sha256")
            if expected:
                write_atomic(place / f"{name}.sha256", f"{expected.lower()}  {name}\n")
            else:
                message = "no checksum (no --sha256, no .sha256 file beside it): the download was not verified"
                findings.append(
                    Finding(code="data.no-checksum", level="warning", where=masked_text(address), message=message, fix="give it: --sha256 HEX")
                )
            if not _is_current(client, address, target, expected):
                target.unlink(missing_ok=True)
                _get(client, address, target, progress)
    except _RefusedError as refusal:
        return None, [_failed(address, str(refusal))]
    except OSError as error:
        return None, [disk_trouble(error, place, "archive", 0)]
    return target, findings


def _client() -> "httpx.Client":
    import httpx

    def refuse(request: httpx.Request) -> None:  # asked of each address that a redirect leads to as well
        if problem := unsafe(str(request.url)):
            raise _RefusedError(f"it leads to {masked_text(str(request.url))}: {problem}")

    return httpx.Client(headers=AGENT, timeout=TIMEOUT, follow_redirects=True, event_hooks={"request": [refuse]})


def _is_current(client: "httpx.Client", address: str, target: Path, expected: str) -> bool:
    """Whether what was fetched before is still what the address has: by its checksum, else by its ETag. Without a network it is. Raises OSError."""
    import httpx

    if not target.exists():
        return False
    if expected:
        return read_content(target).sha256 == expected.lower()
    tag = target.with_name(f"{target.name}.etag")
    if not zipfile.is_zipfile(target) or not tag.exists():
        return False
    try:
        with client.stream("GET", address, headers={"If-None-Match": tag.read_text(encoding="utf-8")}) as answer:
            return answer.status_code != 200  # 304; or an error, which says nothing of the file
    except (httpx.HTTPError, httpx.InvalidURL):
        return True


def _get(client: "httpx.Client", address: str, target: Path, progress: Progress) -> None:
    """Fetch into `target`, which takes its name when it is complete, with its ETag beside it. Raises OSError for the disk, _RefusedError for the network."""
    import httpx

    part = target.with_name(f"{target.name}.part")
    trouble = ""
    for attempt in range(ATTEMPTS):
        try:
            _continue(client, address, part, progress)
            part.replace(target)
            tag = part.with_name(f"{part.name}.etag")
            if tag.exists():
                tag.replace(target.with_name(f"{target.name}.etag"))
            return
        except httpx.HTTPStatusError as error:
            answer = error.response
            if answer.status_code == 416:  # the part is longer than the file, which is another one by now
                part.unlink(missing_ok=True)
            elif answer.status_code < 500 and answer.status_code not in (408, 429):
                raise _RefusedError(f"the server answers {answer.status_code} {answer.reason_phrase}") from None
            trouble = f"the server answers {answer.status_code} {answer.reason_phrase}"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            trouble = str(error) or type(error).__name__
        if attempt + 1 < ATTEMPTS:
            time.sleep(FIRST_WAIT * 2**attempt)
    raise _RefusedError(f"{trouble} (tried {ATTEMPTS} times)")


def _continue(client: "httpx.Client", address: str, part: Path, progress: Progress) -> None:
    """Add to the part what is missing of it. Raises httpx.HTTPError, also where the answer ends early."""
    tag = part.with_name(f"{part.name}.etag")
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")} if have and tag.exists() else {}
    with client.stream("GET", address, headers=headers) as answer:
        answer.raise_for_status()
        continues = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        done = have if continues else 0
        total = done + int(answer.headers.get("Content-Length") or 0)
        _require_room(part, total - done)
        looked = done
        tag.unlink(missing_ok=True)
        if etag := answer.headers.get("ETag"):
            tag.write_text(etag, encoding="utf-8")
        with part.open("ab" if continues else "wb") as file:
            for chunk in answer.iter_raw():  # as it comes: a chunk that is still gathered would be lost with the connection
                file.write(chunk)
                done += len(chunk)
                if done - looked >= EVERY:  # an answer may have no end, whatever length it claims
                    _require_room(part, 0)
                    looked = done
                progress(f"fetching {part.name.removesuffix('.part')}", done, max(total, done))


def _require_room(part: Path, more: int) -> None:
    """Raises OSError, and leaves no part, where so many bytes more would leave less than SPARE of the disk, or less than a tenth of it."""
    disk = shutil.disk_usage(part.parent)
    if disk.free - more < min(SPARE, disk.total // 10):
        part.unlink(missing_ok=True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))


def _checksum_at(client: "httpx.Client", address: str) -> str:
    """The checksum that the address holds, or '' where there is none. Whatever else is wrong shows when the archive itself is fetched."""
    import httpx

    try:
        with client.stream("GET", address) as answer:
            answer.raise_for_status()
            text = next(answer.iter_raw(1000), b"").decode("utf-8", "replace")
    except (httpx.HTTPError, httpx.InvalidURL, _RefusedError):
        return ""
    found = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    return found[1] if found else ""


def _failed(address: str, problem: str) -> Finding:
    fix = "correct the address; or fetch the file in a browser and give it: --data data.zip"
    return Finding(
        code="data.download", level="error", where=masked_text(address), message=f"the archive can't be fetched: {masked_text(problem)}", fix=fix
    )
