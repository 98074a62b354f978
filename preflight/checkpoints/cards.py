"""The README.md beside an adapter: whether a program made it, so that one which a person wrote is never replaced. Standard library only: the
mirror asks that of what lies on Drive."""

import hashlib
import re
from pathlib import Path

SEAL = "<!-- Made by preflight from the run's files, and made anew after each evaluation; not once you have changed it. {} -->\n"
LONGEST = 1 << 20  # bytes of a page that is looked at: what a program makes is shorter
# pages of transformers (its three gaps are there as long as nobody has filled them), of peft and of TRL
TRAINERS = re.compile(
    r"<!-- This model card has been generated automatically.*(?:^More information needed$.*){3}"
    r"|^# Model Card for Model ID$.*\[More Information Needed\]"
    r"|^It has been trained using \[TRL\].*^## Citations$",
    re.M | re.S,
)


def sealed(text: str) -> str:
    """A page with a last line by which it is known again, as long as nobody changes it."""
    return text + SEAL.format(hashlib.sha256(text.encode()).hexdigest())


def is_replaceable(path: Path) -> bool:
    """Whether a page may be put there: nothing is there, or what a program made. Raises OSError."""
    if not path.is_symlink() and not path.exists():
        return True
    if path.is_symlink() or not path.is_file() or path.stat().st_size > LONGEST:
        return False
    text = path.read_bytes().decode("utf-8", "replace")
    body, mark, _ = text.rpartition(SEAL.partition("{}")[0])
    return text == sealed(body) if mark else bool(TRAINERS.search(text))
