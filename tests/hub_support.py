"""A hub on this machine that serves one model, counts what it is asked, and can turn away, hang up or be gone."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest

from .model_support import smollm_tokenizer, tiny_llama

NAME, COMMIT = "someone/tiny", "c0ffee" * 6 + "c0ff"


class Hub(http.server.ThreadingHTTPServer):
    """`broken`: "" works, "busy" answers 429 to everything, "half" breaks off in the weights."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Reply)
        self.folder, self.broken, self.asked = folder, "", []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def files(self) -> list[dict]:
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [{"type": "file", "path": p.relative_to(self.folder).as_posix(), "size": p.stat().st_size,
                 "oid": hashlib.sha1(p.read_bytes()).hexdigest()} for p in paths]  # fmt: skip


class _Reply(http.server.BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.broken == "busy":
            self.reply(b"", status=429)
        elif "/tree/" in self.path:
            self.reply(json.dumps(self.server.files()).encode(), "application/json")
        elif self.path.startswith(f"/api/models/{NAME}"):
            self.reply(json.dumps({"id": NAME, "sha": COMMIT, "siblings": []}).encode(), "application/json")
        elif self.path.startswith(f"/{NAME}/resolve/"):
            self.send_file(self.server.folder / self.path.split(f"{COMMIT}/")[-1])
        else:
            self.reply(b"", status=404)

    do_HEAD = do_GET

    def send_file(self, path: Path) -> None:
        half = self.server.broken == "half" and path.suffix == ".safetensors"
        content = path.read_bytes()
        tag = hashlib.sha1(content).hexdigest()
        self.reply(content, headers={"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT}, cut=len(content) // 2 if half else None)

    def reply(self, body: bytes, kind="application/octet-stream", status=200, headers=None, cut=None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])

    def log_message(self, *arguments: object) -> None:
        pass


def use_hub(monkeypatch, url: str, cache: Path) -> None:
    """Let the hub's client talk to this address only, with a cache of its own."""
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    places = {"ENDPOINT": url, "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}"}
    for name, value in {**places, "HF_HUB_OFFLINE": False, "HF_HUB_CACHE": str(cache)}.items():
        monkeypatch.setattr(constants, name, value)


@pytest.fixture(name="hub")
def hub_with_one_model(tmp_path, monkeypatch):
    """A hub that holds a tiny model, with code and a pickle beside it that nobody should ask for."""
    folder = tmp_path / "on the hub"
    tiny_llama().save_pretrained(folder)
    smollm_tokenizer().save_pretrained(folder)
    for name in ("modeling_evil.py", "pytorch_model.bin"):
        (folder / name).write_bytes(b"raise SystemExit")
    server = Hub(folder)
    use_hub(monkeypatch, server.url, tmp_path / "hub cache")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
