"""The cell that fetches the repository, which runs before the kit is there: against a real git server that asks for a name and a password."""

import base64
import datetime
import http.server
import ipaddress
import os
import ssl
import subprocess
import sys
import threading
from functools import partial

import nbformat
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import CHECKOUT, FAKES

TOKEN = "github_pat_thisIsNoTokenButItMustNotBeWrittenDown"
OPEN = "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
(CELL,) = (cell["source"] for cell in nbformat.read(CHECKOUT / "notebooks/train_colab.ipynb", as_version=4).cells if cell["id"] == "clone")
PULL = "\nimport sys; sys.path.insert(0, '.')\nfrom preflight.cli.session import update_code\nprint(update_code(Path(folder)))"


def certificate(folder):
    """A key and a certificate of its own for 127.0.0.1, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return folder / "server.pem"


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files below `directory` as git fetches them: public/ to all, private/ to TOKEN, closed/ to nobody."""

    def do_GET(self):
        lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
        self.server.shown += [line for line in lines if TOKEN in " ".join(line)]
        given = self.headers.get("Authorization", "")
        self.server.given.append(given)
        if self.path.startswith("/public/") or (self.path.startswith("/private/") and given == OPEN):
            return super().do_GET()
        self.send_response(401 if not given or self.path.startswith("/private/") else 404)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def log_message(self, *arguments):
        pass


def git(*arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def server(tmp_path):
    """Serves one repository under three addresses; `shown` are the command lines that held the token while it was asked."""
    (tmp_path / "work/preflight").mkdir(parents=True)
    (tmp_path / "work/preflight/a.py").write_text("one\n")
    git("init", "-q", "-b", "main", tmp_path / "work")
    git("-C", tmp_path / "work", "add", ".")
    git("-C", tmp_path / "work", "commit", "-qm", "first")
    for name in ("public", "private", "closed"):
        git("clone", "-q", "--bare", tmp_path / "work", tmp_path / f"served/{name}/kit.git")
        git("-C", tmp_path / f"served/{name}/kit.git", "update-server-info")
    pem = certificate(tmp_path)
    one = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    one.socket = context.wrap_socket(one.socket, server_side=True)
    one.shown, one.given = [], []
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield one
    one.shutdown()
    one.server_close()


def run_cell(tmp_path, repository, secret=None, more=""):
    """The cell in a process that stands for the kernel; what it printed, and the error that it ended with."""
    root = tmp_path / "content"
    root.mkdir(exist_ok=True)
    settings = f"REPOSITORY = {repository!r}\nROOT = {str(root)!r}\n"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COLAB_", "GIT", "FAKE_"))}
    env = kept | {"PYTHONPATH": str(FAKES), "HOME": str(root), "GIT_SSL_CAINFO": str(tmp_path / "server.pem")}
    env |= {} if secret is None else {"FAKE_SECRET": secret}
    done = subprocess.run(
        [sys.executable, "-c", settings + CELL + more], cwd=CHECKOUT, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    (error,) = done.stderr.strip().splitlines()[-1:] or [""]
    return done.stdout, error


def address(server, name):
    return f"https://127.0.0.1:{server.server_port}/{name}/kit.git"


def holding(folder):
    return [path for path in folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


@pytest.mark.parametrize("secret", [TOKEN, f"  {TOKEN} \n"], ids=["as it is", "with blanks"])
def test_a_private_repository_is_fetched_and_updated_with_the_secret_which_is_written_nowhere(server, tmp_path, secret):
    clone = tmp_path / "content/sql-codegen-slm"
    assert run_cell(tmp_path, address(server, "private"), secret) == ("", "")
    assert (clone / "preflight/a.py").read_text() == "one\n"
    (tmp_path / "work/preflight/a.py").write_text("two\n")
    git("-C", tmp_path / "work", "commit", "-qam", "second")
    git("-C", tmp_path / "work", "push", "-q", tmp_path / "served/private/kit.git", "main")
    git("-C", tmp_path / "served/private/kit.git", "update-server-info")
    said, error = run_cell(tmp_path, address(server, "private"), secret, PULL)
    assert (error, (clone / "preflight/a.py").read_text()) == ("", "two\n")
    assert "code.updated" in said
    assert address(server, "private") in (clone / ".git/config").read_text()
    assert OPEN in server.given
    assert (server.shown, holding(tmp_path / "content")) == ([], [])


def test_the_token_is_sent_to_nobody_who_does_not_ask_for_it(server, tmp_path):
    assert run_cell(tmp_path, address(server, "public"), TOKEN) == ("", "")
    assert set(server.given) == {""}


@pytest.mark.parametrize(
    ("name", "secret", "says"),
    [
        ("private", None, ["could not read Username", "private: no secret GITHUB_TOKEN could be read (the key symbol"]),
        ("private", " \n", ["could not read Username", "private: no secret GITHUB_TOKEN could be read (the key symbol"]),
        ("private", "github_pat_old", ["Authentication failed", "private: the secret GITHUB_TOKEN does not open it"]),
        ("closed", TOKEN, ["not found", "private: the secret GITHUB_TOKEN does not open it"]),
        ("public/nowhere", None, ["not found", "Check REPOSITORY in the settings cell; if the repository is private"]),
    ],
    ids=["no secret", "an empty one", "an old one", "of somebody else", "no such repository"],
)
def test_a_repository_that_does_not_open_says_what_to_do_in_one_line(server, tmp_path, name, secret, says):
    _, error = run_cell(tmp_path, address(server, name), secret)
    assert error.startswith("RuntimeError: fatal: ")
    assert all(part in error for part in says), error
    assert TOKEN not in error
    assert list((tmp_path / "content").iterdir()) == []


@pytest.mark.parametrize(
    ("repository", "says"),
    [
        ("https://github.com/YOUR_NAME/sql-codegen-slm.git", "Edit the settings cell: REPOSITORY is the address of your copy"),
        (f"https://{TOKEN}@localhost/kit.git", "a token goes into the secret GITHUB_TOKEN"),
        ("", "Check REPOSITORY in the settings cell"),
        ("/nowhere", "does not exist. Check REPOSITORY in the settings cell"),
        ("https://127.0.0.1:9/kit.git", "Check REPOSITORY in the settings cell"),
    ],
    ids=["left as it is", "with a token", "empty", "no folder", "no server"],
)
def test_an_address_that_is_none_says_what_to_edit(tmp_path, repository, says):
    _, error = run_cell(tmp_path, repository)
    assert error.startswith("RuntimeError: ")
    assert says in error
    assert TOKEN not in error
    assert not holding(tmp_path / "content")
