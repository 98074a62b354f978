"""A Hugging Face hub on this machine, which answers `auth-check` as the real one does (huggingface_hub 1.17 names its error codes)."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD = "hf_goodTokenForTheTests"
GATED = "someone/gated"
SMALL = "someone/small"  # whose small files can be fetched
FILES = {
    "config.json": b'{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}',
    "tokenizer_config.json": b"{}",
    "README.md": b"---\nlicense: apache-2.0\n---\n# Small\n",
}
THERE = ("mistralai/Mistral-7B-v0.1", "unsloth/mistral-7b", SMALL)


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        if "/resolve/" in self.path:
            self.file()
            return
        model = self.path.removeprefix("/api/models/").removesuffix("/auth-check")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.server.tokens.add(token)
        if token and not token.startswith("hf_good"):
            self.answer(401, None, "Invalid credentials in Authorization header")
        elif model == GATED:
            self.answer(403 if token else 401, "GatedRepo", f"Access to model {GATED} is restricted")
        elif model in THERE:
            self.answer(200)
        elif model == "someone/broken":
            self.answer(500)
        else:
            self.answer(404 if token else 401, "RepoNotFound", "Repository not found")

    def file(self):
        name = self.path.rpartition("/")[2]
        if not self.path.startswith(f"/{SMALL}/") or name not in FILES:
            self.answer(404, "EntryNotFound", "Entry not found")
            return
        self.server.fetched.add(name)
        self.send_response(200)
        for header, value in (("ETag", f'"{name}"'), ("X-Repo-Commit", "a" * 40), ("Content-Length", str(len(FILES[name])))):
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(FILES[name])

    def answer(self, status, code=None, message=""):
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        if message:
            self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


class Hub:
    def __init__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.tokens, self.server.fetched = set(), set()
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def tokens(self):
        return self.server.tokens

    def close(self):
        self.server.shutdown()
        self.server.server_close()
