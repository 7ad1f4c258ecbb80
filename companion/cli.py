"""The command line, `alpt COMMAND`: `run` plans, executes, renders and reports.

Commands import what they need when they run (`commands`): help waits for nothing.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from alpt_lib.errors import CompanionError, one_line, unknown, visible
from alpt_lib.files import home
from alpt_lib.progress import QUIET
from companion import commands

Option = tuple[tuple[str, ...], dict[str, Any]]


@dataclass(frozen=True)
class Command:
    """What a command does, as `--help` shows it, the function that does it, and its options."""

    does: str
    action: Callable[[argparse.Namespace], int]
    options: list[Option]
    # whether it takes --quiet or --verbose
    is_loud: bool = False

    def flags(self) -> list[str]:
        """All that may be written after the command."""
        options = [*self.options, *(LOUDNESS if self.is_loud else [])]
        return [flag for flags, _ in options for flag in flags]


def _option(*flags: str, **settings: Any) -> Option:
    return flags, settings


def _mapping(text: str) -> dict:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        raise argparse.ArgumentTypeError(
            f"takes a yaml mapping such as '{{seeds: [1, 2]}}'; got {text!r}"
        )
    return content


# which notebooks, with which parameters, done how
PLAN = [
    _option("--preset", default="mini", help="smoke, mini, real, paper (default: mini)"),
    _option("--only", metavar="01,05", help="only these notebooks, by number or name"),
    _option(
        "--set",
        type=_mapping,
        default={},
        metavar="'{seeds: [1, 2]}'",
        help="change parameters of the notebooks (yaml; protocol and recipe are added to); "
        "figures then go to figures/custom",
    ),
    _option(
        "--workers",
        type=int,
        default=0,
        help="worker processes (default: one per GPU, without GPUs per core)",
    ),
    _option("--executor", default="local", help="local or ray: where runs are done"),
]

# of which one may be given
LOUDNESS = [
    _option("--quiet", action="store_true", help="no progress; errors, and where to look"),
    _option(
        "--verbose",
        action="store_true",
        help="also the planned runs, and what notebooks are given",
    ),
]

COMMANDS: dict[str, dict[str, Command]] = {
    "make figures": {
        "run": Command(
            "do the runs that are missing, render the notebooks, print the claims "
            "(run_all.sh calls it)",
            commands.run,
            [
                *PLAN,
                _option(
                    "--dry-run",
                    action="store_true",
                    help="say what would run, how long, how much disk",
                ),
            ],
            is_loud=True,
        ),
        "execute": Command(
            "do the runs that no other process is doing, draw nothing",
            commands.execute_runs,
            [*PLAN, _option("--plan", choices=["-"], help=argparse.SUPPRESS)],
            is_loud=True,
        ),
    },
    "look": {
        "list": Command(
            "runs, datasets, models, acquisitions, presets or notebooks",
            commands.list_what,
            [
                _option(
                    "what",
                    nargs="?",
                    default="runs",
                    choices=["runs", "datasets", "models", "acquisitions", "presets", "notebooks"],
                    help="default: runs",
                )
            ],
        ),
        "show": Command(
            "one stored run: its rounds, final accuracies, why it failed",
            commands.show_run,
            [_option("run", metavar="RUN_ID", help="or how it starts")],
        ),
        "explain": Command(
            "what a run's id is made of; of two runs, what differs",
            commands.explain_runs,
            [
                _option(
                    "runs",
                    nargs="+",
                    metavar="RUN_ID|FILE.yaml",
                    help="a stored run's id, or a yaml file of notebook parameters",
                )
            ],
        ),
        "check": Command(
            "a dataset folder: its counts, or the first thing that is wrong with it",
            commands.check_folder,
            [
                _option(
                    "folder",
                    help="a folder with manifest.csv and dataset.yaml, or a dataset's name",
                )
            ],
        ),
    },
    "take results elsewhere": {
        "export": Command(
            "stored runs as one tidy csv or parquet, with a data dictionary",
            commands.export_table,
            [
                _option(
                    "--to",
                    type=Path,
                    required=True,
                    metavar="FILE",
                    help="ends in .csv or .parquet",
                ),
                _option(
                    "--what",
                    choices=["metrics", "acquisitions", "runs"],
                    default="metrics",
                    help="default: metrics, one number a row",
                ),
                _option(
                    "--where",
                    type=_mapping,
                    metavar="'{dataset: waterbirds}'",
                    help="only rows with these values (yaml)",
                ),
            ],
        ),
        "tensorboard": Command(
            "stored runs as TensorBoard event files",
            commands.write_events,
            [
                _option(
                    "--log",
                    type=Path,
                    metavar="FOLDER",
                    help="default: tensorboard/ beside runs/",
                )
            ],
        ),
        "reference": Command(
            "make what a run drew the committed result that later runs are compared with",
            commands.renew_reference,
            [
                _option(
                    "--from",
                    dest="source",
                    type=Path,
                    required=True,
                    metavar="FOLDER",
                    help="such as figures/thorough, which becomes figures/reference/mini",
                )
            ],
        ),
    },
    "keep the store": {
        "verify": Command(
            "what is wrong with the store; exit status 1 if anything is", commands.verify_runs, []
        ),
        "prune": Command(
            "stored runs that no notebook of the preset needs; --yes removes them",
            commands.prune_runs,
            [
                *PLAN,
                _option(
                    "--yes",
                    action="store_true",
                    help="remove them; without it they are only listed",
                ),
            ],
        ),
    },
}

AFTERWORD = """\
`alpt COMMAND --help` has the options of each. Data, runs and figures are in {home}
(ALPT_HOME moves them). In python, `companion.runs.store.all_runs()` gives all stored runs as one
pandas frame."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest option that there is."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}; `{self.prog} --help` shows what there is\n")


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The arguments of a command; exits with status 2 and one line where they make no sense."""
    known = {name: command for group in COMMANDS.values() for name, command in group.items()}
    parser = _parser(known)
    words = sys.argv[1:] if arguments is None else arguments
    if words and not words[0].startswith("-") and words[0] not in known:
        parser.error(unknown("command", words[0], known))
    options, others = parser.parse_known_args(words)
    if others:
        parser.error(unknown("option", others[0], known[options.command].flags()))
    return options


def _parser(known: dict[str, Command]) -> Parser:
    width = max(map(len, known))
    overview = ""
    for group, members in COMMANDS.items():
        lines = [f"  {name:{width}}  {command.does}" for name, command in members.items()]
        overview += "\n".join([f"{group}:", *lines, "", ""])
    parser = Parser(
        prog="alpt",
        usage="%(prog)s COMMAND [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Active Learning Helps Pretrained Models Learn the Intended Task: a companion.",
        epilog=f"{overview}{AFTERWORD.format(home=home())}",
    )
    added = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", prog="alpt", help=argparse.SUPPRESS
    )
    for name, command in known.items():
        about = f"{command.does[0].upper()}{command.does[1:]}."
        of_command = added.add_parser(name, description=about)
        of_command.set_defaults(action=command.action)
        for flags, settings in command.options:
            of_command.add_argument(*flags, **settings)
        if command.is_loud:
            loudness = of_command.add_mutually_exclusive_group()
            for flags, settings in LOUDNESS:
                loudness.add_argument(*flags, **settings)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on stderr that says what is wrong; 130 after Ctrl-C."""
    options = read_arguments(arguments)
    if getattr(options, "quiet", False):
        os.environ[QUIET] = "1"
    try:
        status = options.action(options)
        # a full disk shows when the last words are written
        print(end="", flush=True)
        return status
    except BrokenPipeError:
        # `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ImportError as error:
        # torch is loaded only when it is needed, and takes some GB of address space
        why = f"{one_line(error)}; is there enough memory, and the lock installed?"
        print(f"error: {why}", file=sys.stderr)
        return 1
    except (CompanionError, OSError) as error:
        remedy = commands.remedy(str(error)) if isinstance(error, OSError) else ""
        print(f"error: {visible(str(error))}{remedy}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
