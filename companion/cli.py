"""The command line, `alpt COMMAND`: `run` plans, executes, renders and reports.

What a command needs is imported when it runs: a first line shows at once, help waits for nothing.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TextIO

import yaml

from alpt_lib.errors import CompanionError, unknown, visible
from alpt_lib.files import home, runs_folder
from alpt_lib.progress import QUIET

# --- actions: each returns an exit status


def run(options: argparse.Namespace) -> int:
    """Plan all notebooks, do the missing runs once, render, and say where to look.

    Runs that fail do not end it: figures are drawn of all others, and the exit status tells.
    """
    started = time.monotonic()
    given, parameters = _parameters(options)
    _announce(f"planning {len(given)} notebooks at the {options.preset} preset")
    if options.dry_run:
        from companion.runs.dry_run import dry_run

        _say(dry_run(parameters, options.workers))
        return 0
    from companion.report.draw import Notebook, draw
    from companion.runs.execute import RunsFailed, execute

    plans = _plans(parameters)
    _say_plan(options, plans, given)
    faults = []
    try:
        execute(_runs(plans), options.workers, executor=options.executor)
    except RunsFailed as error:
        faults.append(str(error))
    output = home() / "figures" / ("custom" if options.set else options.preset)
    notebooks = {
        name: Notebook(given[name], [each.run.run_id for each in plan])
        for name, plan in plans.items()
    }
    workers = options.workers or os.cpu_count() or 1
    page, not_rendered = draw(notebooks, options.preset, output, workers, are_done=not faults)
    if not options.quiet:
        _say_claims(options.preset, output)
    minutes = (time.monotonic() - started) / 60
    n_rendered = len(given) - len(not_rendered)
    _say(f"{n_rendered} of {len(given)} notebooks in {minutes:.1f} min; open {page}")
    faults += [f"{name}: {fault}" for name, fault in not_rendered.items()]
    for fault in faults:
        print(f"error: {visible(fault)}", file=sys.stderr)
    return 1 if faults else 0


def execute_runs(options: argparse.Namespace) -> int:
    """Finish the runs of all notebooks beside any number of other processes that do the same."""
    if options.plan:
        from companion.runs.workers import work_from_stdin

        return work_from_stdin()
    given, parameters = _parameters(options)
    _announce(f"planning the runs of {len(given)} notebooks at the {options.preset} preset")
    from companion.runs.execute import execute

    plans = _plans(parameters)
    _say_plan(options, plans, {})
    execute(_runs(plans), options.workers, executor=options.executor, forgives=False)
    return 0


def list_what(options: argparse.Namespace) -> int:
    """One line a run, dataset, model ..."""
    if options.what in ("runs", "datasets"):
        _announce(f"reading {home() / ('runs' if options.what == 'runs' else 'data')}")
    from companion.listings import LISTS, text

    table = LISTS[options.what]()
    _say(text(table) if len(table) else f"no stored {options.what}")
    return 0


def show_run(options: argparse.Namespace) -> int:
    """All that is stored of one run."""
    _announce(f"reading {runs_folder()}")
    from companion.listings import show_run

    _say(show_run(options.run))
    return 0


def explain_runs(options: argparse.Namespace) -> int:
    """What ids are made of."""
    _announce(f"reading {', '.join(options.runs)}")
    from companion.explain import explain

    _say(explain(options.runs))
    return 0


def check_folder(options: argparse.Namespace) -> int:
    """Counts of a dataset folder."""
    _announce(f"checking {options.folder}")
    from companion.listings import check_folder

    _say(check_folder(options.folder))
    return 0


def export_table(options: argparse.Namespace) -> int:
    """Stored runs as one file, with a data dictionary beside it."""
    _announce(f"reading {runs_folder()}")
    from companion.report.export import export

    _say(export(options.to, options.what, options.where))
    return 0


def write_events(options: argparse.Namespace) -> int:
    """Stored runs as TensorBoard event files."""
    _announce(f"reading {runs_folder()}")
    from companion.report.export import tensorboard

    _say(tensorboard(options.log or home() / "tensorboard"))
    return 0


def renew_reference(options: argparse.Namespace) -> int:
    """Make what a run drew the committed result that later runs are compared with."""
    from companion.report.gallery import write_gallery
    from companion.report.reference import renew

    folder = renew(options.source)
    drawn = sorted(file.parent.name for file in folder.glob("*/*.ipynb"))
    page = write_gallery(drawn, folder.name, folder, reference="")
    _say(f"{len(drawn)} notebooks in {folder}; look at {page}, then commit it")
    return 0


def verify_runs(options: argparse.Namespace) -> int:
    """Every fault of the store, one a line."""
    _announce(f"reading {runs_folder()}")
    from companion.runs.upkeep import listing, verify

    faults = verify()
    _say("\n".join(faults) or f"{len(listing())} stored runs, nothing wrong with them")
    return 1 if faults else 0


def prune_runs(options: argparse.Namespace) -> int:
    """List, and with --yes remove, the runs that the preset's notebooks do not need."""
    _, parameters = _parameters(options)
    _announce(f"reading {runs_folder()}")
    from companion.listings import runs_table, text
    from companion.runs.upkeep import prune

    needed = {each.run_id for each in _runs(_plans(parameters))}
    gone = prune(needed, remove=options.yes)
    if len(gone):
        _say(text(runs_table(gone)))
    done = "removed" if options.yes else "not needed by this preset; --yes removes them"
    _say(f"{len(gone)} runs {done}")
    return 0


# --- what several actions share


def _parameters(options: argparse.Namespace) -> tuple[dict[str, dict], dict[str, dict]]:
    """Of each notebook: what papermill sets, and all of its parameters, checked."""
    from companion import notebook_text
    from companion.runs.parameters import check_parameters

    given = notebook_text.overrides(notebook_text.select(options.only), options.preset, options.set)
    parameters = {}
    for name, changes in given.items():
        own = notebook_text.tagged_literals(name)
        parameters[name] = check_parameters({**own, **changes, "workers": options.workers})
    return given, parameters


def _plans(parameters: dict[str, dict]) -> dict[str, list]:
    """Of each notebook its `Planned` runs; datasets that are missing are generated first."""
    from companion.runs.plan import Shelf, plan_runs, prepare_datasets

    for p in parameters.values():
        prepare_datasets(p)
    shelf = Shelf()
    return {name: plan_runs(p, shelf=shelf) for name, p in parameters.items()}


def _runs(plans: dict[str, list]) -> list:
    return [each.run for plan in plans.values() for each in plan]


def _say_plan(options: argparse.Namespace, plans: dict[str, list], given: dict[str, dict]) -> None:
    """With --verbose: each planned run, and what notebooks are given."""
    if options.verbose:
        from companion.listings import in_yaml, planned_table, text

        _say(text(planned_table(plans)))
        for name, changes in given.items():
            _say(f"{name}: {in_yaml(changes)}")


def _say_claims(preset: str, output: Path) -> None:
    """The claims of a run beside the reference's, and how many agree."""
    from companion.listings import claims_text
    from companion.report.gallery import collect_claims
    from companion.report.reference import compare, in_one_line, read_reference

    if preset == "smoke":
        _say(
            "the smoke preset only tries whether everything runs: its claims are too small to judge"
        )
        return
    comparison = compare(collect_claims(output), read_reference(output.name))
    # coloured, so that its control characters are its own
    print(claims_text(comparison, has_colours(sys.stdout)))
    _say(f"\n{in_one_line(comparison, output.name)}\n")


def has_colours(stream: TextIO) -> bool:
    """Whether to colour what goes to a stream: a terminal that can, and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _say(text: str) -> None:
    print(visible(text), flush=True)


def _announce(text: str) -> None:
    """A first line at once, apart from what is asked for."""
    if QUIET not in os.environ:
        print(visible(text), file=sys.stderr, flush=True)


# --- commands and their options

Option = tuple[tuple[str, ...], dict[str, Any]]


@dataclass(frozen=True)
class Command:
    """What a command does, as `--help` shows it, the function that does it, and its options."""

    does: str
    action: Callable[[argparse.Namespace], int]
    options: list[Option]
    # whether it takes --quiet or --verbose
    is_loud: bool = False


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
    _option("--preset", default="mini", help="smoke, mini, paper (default: mini)"),
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
            run,
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
            execute_runs,
            [*PLAN, _option("--plan", choices=["-"], help=argparse.SUPPRESS)],
            is_loud=True,
        ),
    },
    "look": {
        "list": Command(
            "runs, datasets, models, acquisitions, presets or notebooks",
            list_what,
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
            show_run,
            [_option("run", metavar="RUN_ID", help="or how it starts")],
        ),
        "explain": Command(
            "what a run's id is made of; of two runs, what differs",
            explain_runs,
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
            check_folder,
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
            export_table,
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
            write_events,
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
            renew_reference,
            [
                _option(
                    "--from",
                    dest="source",
                    type=Path,
                    required=True,
                    metavar="FOLDER",
                    help="such as figures/mini, which becomes figures/reference/mini",
                )
            ],
        ),
    },
    "keep the store": {
        "verify": Command(
            "what is wrong with the store; exit status 1 if anything is", verify_runs, []
        ),
        "prune": Command(
            "stored runs that no notebook of the preset needs; --yes removes them",
            prune_runs,
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
        command = known[options.command]
        offered = [*command.options, *(LOUDNESS if command.is_loud else [])]
        flags = [flag for given, _ in offered for flag in given]
        parser.error(unknown("option", others[0], flags))
    return options


def _parser(known: dict[str, Command]) -> Parser:
    width = max(map(len, known))
    overview = ""
    for group, commands in COMMANDS.items():
        lines = [f"  {name:{width}}  {command.does}" for name, command in commands.items()]
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
    except (CompanionError, OSError) as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130
