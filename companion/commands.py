"""What each command does; every function returns an exit status.

What a command needs is imported when it runs: a first line shows at once.
"""

import argparse
import errno
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from alpt_lib.errors import visible
from alpt_lib.files import home, runs_folder
from alpt_lib.progress import QUIET

# what to do about a folder, a disk or a system that refuses
WRITABLE = "; make it writable, or set ALPT_HOME to a folder that is"
REMEDIES = {
    errno.EACCES: WRITABLE,
    errno.EROFS: WRITABLE,
    errno.ENOSPC: "; free some space, then start the same command again",
    errno.EMFILE: "; allow more open files: ulimit -n 4096",
}


def remedy(said: str) -> str:
    """What to do about an error of the system, "" where that is said already."""
    fitting = (text for code, text in REMEDIES.items() if os.strerror(code) in said)
    return "" if ";" in said else next(fitting, "")


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
    plans = _plans(parameters)
    _say_plan(options, plans, given)
    faults, page, not_rendered = _do_and_draw(options, plans, given)
    from companion.runs.steps import write_steps

    if os.access(page.parent, os.W_OK):
        write_steps(_runs(plans), page.parent)
    if not options.quiet:
        _say_claims(options.preset, page.parent)
    minutes = (time.monotonic() - started) / 60
    n_rendered = len(given) - len(not_rendered)
    _say(f"{n_rendered} of {len(given)} notebooks in {minutes:.1f} min; open {page}")
    faults += [f"{name}: {fault}" for name, fault in not_rendered.items()]
    for fault in faults:
        print(f"error: {visible(fault)}{remedy(fault)}", file=sys.stderr)
    return 1 if faults else 0


def _do_and_draw(
    options: argparse.Namespace, plans: dict[str, list], given: dict[str, dict]
) -> tuple[list[str], Path, dict[str, str]]:
    """Do the runs that are missing, notebook by notebook, and draw each as soon as it can be.

    Returns:
        what went wrong with runs; the page; of each notebook that failed, what went wrong.
    """
    from companion.report.draw import Meanwhile, Notebook, draw

    output = home() / "figures" / ("custom" if options.set else options.preset)
    notebooks = {}
    for name, plan in plans.items():
        notebooks[name] = Notebook(given[name], [each.run.run_id for each in plan])

    def are_done(name: str) -> bool:
        return not any(each.run.lines_left() for each in plans[name])

    def begun(page: Path) -> None:
        _announce(f"the first figures are there, the others follow: open {page}")

    workers = options.workers or os.cpu_count() or 1
    with Meanwhile(notebooks, options.preset, output, workers, are_done, begun):
        faults = _execute(options, plans)
    return faults, *draw(notebooks, options.preset, output, workers, not faults)


def _execute(options: argparse.Namespace, plans: dict[str, list]) -> list[str]:
    """Do the runs that are missing; returns what went wrong."""
    from companion.runs.execute import RunsFailed, execute
    from companion.runs.work import longest_first

    runs = []
    for plan in plans.values():
        runs += longest_first([each.run for each in plan])
    try:
        execute(runs, options.workers, executor=options.executor, in_order=True)
    except RunsFailed as error:
        return [str(error)]
    return []


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
    # the others after it, for they quote it; what a killed renewal left behind is hidden
    others = sorted(set(folder.parent.glob("[!.]*/")) - {folder})
    for each in [folder, *others]:
        drawn = sorted(file.parent.name for file in each.glob("*/*.ipynb"))
        page = write_gallery(drawn, each.name, each, reference="")
        if each == folder:
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
    from companion.runs.execute import check_executor
    from companion.runs.parameters import check_parameters

    check_executor(options.executor)
    names = notebook_text.select(options.only)
    if not options.only and options.set.get("recipe", {}).get("backbone") == "frozen":
        without = [name for name in names if "stopping" in notebook_text.tagged_literals(name)]
        names = [name for name in names if name not in without]
        _say(f"left out, for a linear head has no stopping rule: {', '.join(without)}")
    given = notebook_text.overrides(names, options.preset, options.set)
    parameters = {}
    for name, changes in given.items():
        own = notebook_text.tagged_literals(name)
        parameters[name] = check_parameters({**own, **changes, "workers": options.workers})
    return given, parameters


def _plans(parameters: dict[str, dict]) -> dict[str, list]:
    """Of each notebook its `Planned` runs; datasets that are missing are generated first."""
    from companion.runs.at_hand import within_reach
    from companion.runs.plan import Shelf, plan_runs, prepare_datasets

    for p in parameters.values():
        prepare_datasets(p)
    shelf = Shelf()
    plans = {}
    for name, p in parameters.items():
        plans[name], left_out = within_reach(plan_runs(p, shelf=shelf))
        for line in left_out:
            _say(f"{name}, {line}")
    return plans


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


def has_colours(stream: TextIO | None) -> bool:
    """Whether to colour what goes to a stream: a terminal that can, and NO_COLOR is not set."""
    # a closed standard output is None
    is_terminal = stream is not None and stream.isatty()
    return is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _say(text: str) -> None:
    print(visible(text), flush=True)


def _announce(text: str) -> None:
    """A first line at once, apart from what is asked for."""
    if QUIET not in os.environ:
        print(visible(text), file=sys.stderr, flush=True)
