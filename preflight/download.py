"""Fetch an archive of rows from an https address: resumed after a cut, tried again with back-off, held to its sum."""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from preflight.findings import Finding
from preflight.workspace import disk_trouble

ATTEMPTS = 5
FIRST_WAIT = 1.0  # seconds; doubled after each failed attempt
TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 20
HERE = ("localhost", "127.0.0.1", "::1")
Progress = Callable[[str, int, int], None]


class _RefusedError(Exception):
    """The address will not give the file, however often it is asked; says why."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if problem := unsafe(newurl):
            raise _RefusedError(f"it leads to {newurl}: {problem}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def unsafe(address: str) -> str:
    """Why an address is not fetched from, or ''."""
    parts = urllib.parse.urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in HERE):
        return ""
    return "only https is fetched from; anyone between could change what http brings"


def fetch(address: str, sha256: str, folder: Path, progress: Progress) -> tuple[Path | None, list[Finding]]:
    """The archive at `address` below `folder`, fetched now or before, with its sum beside it where there is one.

    A part that an earlier attempt left is gone on with. `sha256` ("" if not given) outranks the sum at `address`.sha256.
    """
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(address).path)).name
    if problem := unsafe(address) or ("" if name.endswith(".zip") else "the address does not end in .zip"):
        return None, [_failed(address, problem)]
    place = folder / hashlib.sha256(address.encode()).hexdigest()[:16]
    target = place / name
    findings: list[Finding] = []
    try:
        place.mkdir(parents=True, exist_ok=True)
        wanted = sha256 or _sum_at(f"{address}.sha256")
        if wanted:
            (place / f"{name}.sha256").write_text(f"{wanted.lower()}  {name}\n", encoding="utf-8")
        else:
            message = "no sum is known for it: neither --sha256 nor a file .sha256 beside it, so what came was not checked"
            findings.append(Finding(code="data.no-checksum", level="warning", where=address, message=message, fix="give it: --sha256 HEX"))
        if not target.exists():
            _get(address, target, progress)
    except _RefusedError as refusal:
        return None, [_failed(address, str(refusal))]
    except OSError as error:  # urllib's errors among them; a disk's as well
        if error.errno is None:
            return None, [_failed(address, f"{error} (tried {ATTEMPTS} times)")]
        return None, [disk_trouble(error, place, "archive", 0)]
    return target, findings


def _get(address: str, target: Path, progress: Progress) -> None:
    """Fetch into `target`, which takes its name when it is complete. Raises OSError, and _RefusedError where trying again is no use."""
    part = target.with_name(f"{target.name}.part")
    for attempt in range(ATTEMPTS):
        try:
            _go_on(address, part, progress)
            part.replace(target)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is longer than the file, which is another one by now
                part.unlink(missing_ok=True)
            elif error.code < 500 and error.code not in (408, 429):
                raise _RefusedError(f"the server answers {error.code} {error.reason}") from None
            trouble: OSError = error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            trouble = error if isinstance(error, OSError) else OSError(str(error))
        if attempt + 1 < ATTEMPTS:
            time.sleep(FIRST_WAIT * 2**attempt)
    raise OSError(str(trouble))


def _go_on(address: str, part: Path, progress: Progress) -> None:
    """Add to the part what is missing of it; raises what urllib does, and ConnectionError where the answer ends early."""
    tag = part.with_name(f"{part.name}.etag")
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "sql-codegen-slm-preflight"}
    if have and tag.exists():
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")}
    opener = urllib.request.build_opener(_SafeRedirects)
    request = urllib.request.Request(address, headers=headers)  # noqa: S310  # `unsafe` has looked at the scheme
    with opener.open(request, timeout=TIMEOUT) as answer:
        goes_on = answer.status == 206 and re.match(rf"bytes {have}-", answer.headers.get("Content-Range", ""))
        done = have if goes_on else 0
        total = done + int(answer.headers.get("Content-Length") or 0)
        if etag := answer.headers.get("ETag"):
            tag.write_text(etag, encoding="utf-8")
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(f"fetching {part.name.removesuffix('.part')}", done, max(total, done))
    if done < total:
        raise ConnectionError(f"the answer ended after {done:,} of {total:,} bytes")
    tag.unlink(missing_ok=True)


def _sum_at(address: str) -> str:
    """The sum that the address holds, or '' where there is none. Whatever else is wrong shows when the archive itself is fetched."""
    try:
        opener = urllib.request.build_opener(_SafeRedirects)
        with opener.open(address, timeout=TIMEOUT) as answer:
            text = answer.read(1000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, _RefusedError):
        return ""
    found = re.match(r"\s*([0-9a-fA-F]{64})\b", text)
    return found[1] if found else ""


def _failed(address: str, problem: str) -> Finding:
    fix = "mend the address; or fetch the file in a browser and give it: --data data.zip"
    return Finding(code="data.download", level="error", where=address, message=f"the archive can't be fetched: {problem}", fix=fix)
