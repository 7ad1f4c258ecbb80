"""The command line, `python -m alpt_lib COMMAND`: `run` plans, executes, renders and reports (run_all.sh calls it)."""

import argparse
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pandas as pd
import yaml

from alpt_lib.config import RunConfig
from alpt_lib.errors import CompanionError
from alpt_lib.files import REPOSITORY, home
from alpt_lib.progress import QUIET
from companion import listings, notebook_text
from companion.report import export, gallery, render
from companion.runs import dry_run, store, upkeep
from companion.runs.execute import EXECUTORS, RunsFailed, check_executor, execute
from companion.runs.parameters import PRESETS, check_parameters
from companion.runs.plan import plan_runs, prepare

COMMANDS = {  # group -> command -> what it does, as `--help` shows them
    "make figures": {
        "run": "do the runs that are missing, render the notebooks, print the claims (run_all.sh calls it)",
        "execute": "do the runs that no other process is doing, draw nothing",
    },
    "look": {
        "list": "runs, datasets, models, acquisitions, presets or notebooks",
        "show": "one stored run: its rounds, final accuracies, why it failed",
        "explain": "what a run's id is made of; of two runs, what differs",
        "check": "a dataset folder: its counts, or the first thing that is wrong with it",
    },
    "take results elsewhere": {
        "export": "stored runs as one tidy csv or parquet, with a data dictionary",
        "tensorboard": "stored runs as TensorBoard event files",
    },
    "keep the store": {
        "verify": "what is wrong with the store; exit status 1 if anything is",
        "prune": "stored runs that no notebook of the preset needs; --yes removes them",
    },
}

AFTERWORD = """\
`python -m alpt_lib COMMAND --help` has the options of each. Data, runs and figures are in {home}
(ALPT_HOME moves them). In python, `alpt_lib.results.load()` gives all stored runs as one pandas frame."""

VERDICT_COLOURS = {
    "reproduced": 32,
    "right direction": 33,
    "not reproduced": 31,
    "not testable": 2,
}  # of ANSI terminals


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on stderr that says what is wrong; 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    if getattr(options, "quiet", False):
        os.environ[QUIET] = "1"
    try:
        return options.action(options)
    except CompanionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that is read-only or no folder
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    width = max(len(name) for group in COMMANDS.values() for name in group)
    overview = "\n\n".join(
        "\n".join([f"{group}:", *(f"  {name:{width}}  {does}" for name, does in commands.items())])
        for group, commands in COMMANDS.items()
    )
    parser = argparse.ArgumentParser(
        prog="python -m alpt_lib",
        usage="%(prog)s COMMAND [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Active Learning Helps Pretrained Models Learn the Intended Task: a reproducible companion.",
        epilog=f"{overview}\n\n{AFTERWORD.format(home=home())}",
    )
    subparsers = parser.add_subparsers(
        dest="command",
        required=True,
        prog="python -m alpt_lib",
        metavar="COMMAND",
        help=argparse.SUPPRESS,
    )
    known = {name: does for group in COMMANDS.values() for name, does in group.items()}

    def command(
        name: str, action: Callable[[argparse.Namespace], int], *parents: argparse.ArgumentParser
    ):
        added = subparsers.add_parser(
            name, parents=parents, description=f"{known[name][0].upper()}{known[name][1:]}."
        )
        added.set_defaults(action=action)
        return added

    loud = argparse.ArgumentParser(add_help=False)
    loudness = loud.add_mutually_exclusive_group()
    loudness.add_argument(
        "--quiet", action="store_true", help="no progress; errors, and in the end where to look"
    )
    loudness.add_argument(
        "--verbose", action="store_true", help="also the planned runs, and what notebooks are given"
    )
    plan = _plan_options()
    run_parser = command("run", run, plan, loud)
    run_parser.add_argument(
        "--profile", action="store_true", help="say which part of the runs takes how long"
    )
    run_parser.add_argument(
        "--dry-run", action="store_true", help="say what would run, how long, how much disk"
    )
    command("execute", execute_runs, plan, loud)
    command("list", list_what).add_argument(
        "what", nargs="?", default="runs", choices=list(listings.LISTS), help="default: runs"
    )
    command("show", show_run).add_argument("run", metavar="RUN_ID", help="or how it starts")
    command("explain", explain_runs).add_argument(
        "runs",
        nargs="+",
        metavar="RUN_ID|FILE.yaml",
        help="a stored run's id, or a yaml file of notebook parameters",
    )
    command("check", check_folder).add_argument(
        "folder", help="a folder with manifest.csv and dataset.yaml, or a dataset's name"
    )
    exporter = command("export", export_table)
    exporter.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="ends in .csv or .parquet"
    )
    exporter.add_argument(
        "--what",
        choices=export.TABLES,
        default="metrics",
        help="default: metrics, one number a row",
    )
    exporter.add_argument(
        "--where",
        type=_mapping,
        metavar="'{dataset: waterbirds}'",
        help="only rows with these values (yaml)",
    )
    command("tensorboard", write_events).add_argument(
        "--log", type=Path, metavar="FOLDER", help="default: tensorboard/ beside runs/"
    )
    command("verify", verify_runs)
    command("prune", prune_runs, plan).add_argument(
        "--yes", action="store_true", help="remove them; without it they are only listed"
    )
    return parser


def _plan_options() -> argparse.ArgumentParser:
    """The options that say which notebooks, with which parameters, done how."""
    plan = argparse.ArgumentParser(add_help=False)
    plan.add_argument("--preset", default="mini", help=f"{', '.join(PRESETS)} (default: mini)")
    plan.add_argument("--only", metavar="01,05", help="only these notebooks, by number or name")
    plan.add_argument(
        "--set",
        type=_mapping,
        default={},
        metavar="'{seeds: [1, 2]}'",
        help="change parameters of the "
        "notebooks (yaml; protocol and recipe are added to); figures then go to figures/custom",
    )
    plan.add_argument(
        "--workers",
        type=int,
        default=0,
        help="worker processes (default: one per GPU, without GPUs per core)",
    )
    plan.add_argument(
        "--executor",
        default="local",
        help=f"{' or '.join(EXECUTORS)}: where runs are done (default: local)",
    )
    return plan


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


def execute_runs(options: argparse.Namespace) -> int:
    """Finish the runs of all notebooks beside any number of other processes that do the same."""
    plans = _plans(_parameters(options)[1])
    if options.verbose:
        print(_planned_table(plans))
    execute(
        [config for plan in plans.values() for config in plan],
        options.workers,
        executor=options.executor,
    )
    return 0


def list_what(options: argparse.Namespace) -> int:
    """One line a run, dataset, model ..."""
    table = listings.LISTS[options.what]()
    print(listings.text(table) if len(table) else f"no stored {options.what}")
    return 0


def show_run(options: argparse.Namespace) -> int:
    """All that is stored of one run."""
    print(listings.show(options.run))
    return 0


def explain_runs(options: argparse.Namespace) -> int:
    """What ids are made of."""
    print(listings.explain(options.runs))
    return 0


def check_folder(options: argparse.Namespace) -> int:
    """Counts of a dataset folder."""
    print(listings.check_folder(options.folder))
    return 0


def export_table(options: argparse.Namespace) -> int:
    """Stored runs as one file, with a data dictionary beside it."""
    print(export.export(options.to, options.what, options.where))
    return 0


def write_events(options: argparse.Namespace) -> int:
    """Stored runs as TensorBoard event files."""
    print(export.tensorboard(options.log or home() / "tensorboard"))
    return 0


def verify_runs(options: argparse.Namespace) -> int:
    """Every fault of the store, one a line."""
    faults = upkeep.verify()
    print("\n".join(faults) or f"{len(upkeep.listing())} stored runs, nothing wrong with them")
    return 1 if faults else 0


def prune_runs(options: argparse.Namespace) -> int:
    """List, and with --yes remove, the runs that the preset's notebooks do not need."""
    needed = {
        store.run_id(config) for plan in _plans(_parameters(options)[1]).values() for config in plan
    }
    gone = upkeep.prune(needed, remove=options.yes)
    if len(gone):
        print(listings.text(listings.runs_table(gone)))
    print(
        f"{len(gone)} runs {'removed' if options.yes else 'not needed by this preset; --yes removes them'}"
    )
    return 0


def _planned_table(plans: dict[str, list[RunConfig]]) -> str:
    """Each planned run once, with how much of it is stored."""
    rows = [
        (
            store.run_id(c),
            Path(c.dataset).name,
            c.model,
            c.acquisition,
            c.seed,
            listings.is_stored(store.run_id(c)),
        )
        for c in dict.fromkeys(config for plan in plans.values() for config in plan)
    ]
    return listings.text(
        pd.DataFrame(rows, columns=["run_id", "dataset", "model", "acquisition", "seed", "stored"])
    )


def _parameters(options: argparse.Namespace) -> tuple[dict[str, dict], dict[str, dict]]:
    """Of each notebook: what papermill sets, and all of its parameters."""
    given = notebook_text.overrides(notebook_text.select(options.only), options.preset, options.set)
    parameters = {
        name: check_parameters(
            {**notebook_text.tagged_literals(name), **p, "workers": options.workers}
        )
        for name, p in given.items()
    }
    for p in parameters.values():
        prepare(p)
    return given, parameters


def _plans(parameters: dict[str, dict]) -> dict[str, list[RunConfig]]:
    return {name: [planned.config for planned in plan_runs(p)] for name, p in parameters.items()}


def run(options: argparse.Namespace) -> int:
    """Plan all notebooks, do the missing runs once, render, and say where to look.

    Runs that fail do not end it: figures are drawn of all others, and the summary and the exit status tell.
    """
    started = time.monotonic()
    if options.profile:
        os.environ[profiling.WANTED] = "1"
    check_executor(options.executor)
    given, parameters = _parameters(options)
    if options.dry_run:
        print(dry_run.dry_run(parameters, options.workers))
        return 0
    plans = _plans(parameters)
    if options.verbose:
        print(_planned_table(plans))
        print(
            "\n".join(
                f"{name}: {yaml.safe_dump(p, default_flow_style=True, width=1000).strip()}"
                for name, p in given.items()
            )
        )
    failures = []
    try:
        execute(
            [config for plan in plans.values() for config in plan],
            options.workers,
            executor=options.executor,
        )
    except RunsFailed as error:
        failures.append(str(error))
    output = home() / "figures" / (options.preset if not options.set else "custom")
    with _alone(output):
        stamps = {name: _stamp(name, given[name], plans[name]) for name in given}
        stale = {
            name: given[name] for name in given if not _is_rendered(name, output, stamps[name])
        }
        not_rendered = (
            render.render(stale, output, options.workers or os.cpu_count() or 1) if stale else []
        )
        for name in stale:
            if not (failures or any(line.startswith(name) for line in not_rendered)):
                _stamp_file(name, output).parent.mkdir(exist_ok=True)
                _stamp_file(name, output).write_text(stamps[name])
        page = gallery.gallery(list(given), options.preset, output)
    if not options.quiet:
        print(claims_table(output, has_colours(sys.stdout)) + "\n")
    n_rendered = len(given) - len(not_rendered)
    print(
        f"{n_rendered} of {len(given)} notebooks in {(time.monotonic() - started) / 60:.1f} min; open {page}"
    )
    for line in failures + not_rendered:
        print(f"error: {line}", file=sys.stderr)
    return 1 if failures + not_rendered else 0


@contextmanager
def _alone(output: Path):
    """One process at a time draws into a folder; a second one then finds everything rendered."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(output.parent / f".{output.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _stamp(name: str, given: dict, plan: list[RunConfig]) -> str:
    """Hash of everything that decides a rendered notebook: its text, the library, its parameters and runs."""
    library = [
        file
        for package in ("alpt_lib", "companion")
        for file in sorted((REPOSITORY / package).rglob("*"))
    ]
    endings = (".py", ".html", ".css", ".csv", ".js")
    sources = [
        notebook_text.NOTEBOOKS / f"{name}.ipynb",
        *(file for file in library if file.suffix in endings),
    ]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    digest.update(repr((given, [store.run_id(config) for config in plan])).encode())
    return digest.hexdigest()


def _stamp_file(name: str, output: Path) -> Path:
    return output.parent / ".rendered" / f"{output.name}_{name}"


def _is_rendered(name: str, output: Path, stamp: str) -> bool:
    file = _stamp_file(name, output)
    return file.exists() and file.read_text() == stamp and (output / name / f"{name}.html").exists()


def has_colours(stream: TextIO) -> bool:
    """Whether to colour what goes to this stream: a terminal that can, and whose user did not set NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def claims_table(output: Path, in_colour: bool = False) -> str:
    """The whole claims table as text for a terminal."""
    file = output / "claims.csv"
    if not file.exists():
        return ""
    table = pd.read_csv(file)
    number = "{:+.3f}".format
    lines = [f"{'claim':88} {'paper':>7} {'ours':>7}  {'95% interval':>16} seeds  verdict"]
    for row in table.itertuples():
        paper, ours = ("" if pd.isna(v) else number(v) for v in (row.paper, row.ours))
        interval = "" if pd.isna(row.ci_low) else f"{number(row.ci_low)} {number(row.ci_high)}"
        verdict = (
            f"\033[{VERDICT_COLOURS[row.verdict]}m{row.verdict}\033[0m"
            if in_colour
            else row.verdict
        )
        lines.append(
            f"{row.claim:88.88} {paper:>7} {ours:>7}  {interval:>16} {row.n_seeds:5d}  {verdict}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
