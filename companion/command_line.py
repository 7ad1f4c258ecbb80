"""The command line: `python -m alpt_lib run` plans, executes, renders and reports (run_all.sh calls it)."""

import argparse
import fcntl
import hashlib
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import yaml

from alpt_lib import experiments, profiling, results
from alpt_lib.config import CompanionError, RunConfig
from alpt_lib.execute import EXECUTORS, RunsFailed, execute
from alpt_lib.paths import REPOSITORY, home
from companion import costs, render, store


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on stderr that says what is wrong; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="alpt_lib", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    plan = argparse.ArgumentParser(add_help=False)
    plan.add_argument("--preset", default="mini", help=f"{', '.join(experiments.PRESETS)} (default: mini)")
    plan.add_argument("--only", metavar="01,05", help="only these notebooks, by number or name")
    plan.add_argument("--set", type=_mapping, default={}, metavar="'{seeds: [1, 2]}'", help="change parameters of the "
                      "notebooks (yaml; protocol and recipe are added to); figures then go to figures/custom")
    plan.add_argument("--workers", type=int, default=0, help="worker processes (default: one per GPU, without GPUs per core)")
    plan.add_argument("--executor", default="local", help=f"{' or '.join(EXECUTORS)}: where runs are done (default: local)")
    run_parser = commands.add_parser("run", parents=[plan], help="regenerate figures")
    run_parser.add_argument("--profile", action="store_true", help="say which part of the runs takes how long")
    run_parser.add_argument("--dry-run", action="store_true", help="say what would run, how long, how much disk")
    run_parser.set_defaults(command=run)
    only_runs = commands.add_parser("execute", parents=[plan], help="do the runs that no other process is doing, draw nothing")
    only_runs.set_defaults(command=execute_runs)
    listing = commands.add_parser("list", help="stored runs, finished and unfinished")
    listing.set_defaults(command=list_runs)
    verify = commands.add_parser("verify", help="what is wrong with the store; exit status 1 if anything is")
    verify.set_defaults(command=verify_runs)
    prune = commands.add_parser("prune", parents=[plan], help="stored runs that no notebook of the preset needs")
    prune.add_argument("--yes", action="store_true", help="remove them; without it they are only listed")
    prune.set_defaults(command=prune_runs)
    options = parser.parse_args(arguments)
    try:
        return options.command(options)
    except CompanionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130


def _mapping(text: str) -> dict:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        raise argparse.ArgumentTypeError(f"takes a yaml mapping such as '{{seeds: [1, 2]}}'; got {text!r}")
    return content


def execute_runs(options: argparse.Namespace) -> int:
    """Finish the runs of all notebooks beside any number of other processes that do the same."""
    _, parameters = _parameters(options)
    execute([config for plan in _plans(parameters).values() for config in plan], options.workers, executor=options.executor)
    return 0


def list_runs(options: argparse.Namespace) -> int:
    """One line a stored run."""
    print(_runs_table(store.listing()))
    return 0


def verify_runs(options: argparse.Namespace) -> int:
    """Every fault of the store, one a line."""
    faults = store.verify()
    print("\n".join(faults) or f"{len(store.listing())} stored runs, nothing wrong with them")
    return 1 if faults else 0


def prune_runs(options: argparse.Namespace) -> int:
    """List, and with --yes remove, the runs that the preset's notebooks do not need."""
    needed = {results.run_id(config) for plan in _plans(_parameters(options)[1]).values() for config in plan}
    gone = store.prune(needed, remove=options.yes)
    print(_runs_table(gone))
    print(f"{len(gone)} runs {'removed' if options.yes else 'not needed by this preset; --yes removes them'}")
    return 0


def _runs_table(runs: pd.DataFrame) -> str:
    if runs.empty:
        return "no stored runs"
    rounds = runs["rounds_done"].astype(str) + "/" + runs["rounds"].astype(str)
    shown = runs.assign(rounds=rounds, failed=runs["failed"].fillna(""))
    return shown[["run_id", "dataset", "model", "acquisition", "seed", "rounds", "started", "failed"]].to_string(index=False)


def _parameters(options: argparse.Namespace) -> tuple[dict[str, dict], dict[str, dict]]:
    """Of each notebook: what papermill sets, and all of its parameters."""
    given = render.overrides(render.select(options.only), options.preset, options.set)
    parameters = {name: experiments.check_parameters({**render.tagged_literals(name), **p, "workers": options.workers})
                  for name, p in given.items()}
    for p in parameters.values():
        experiments.prepare(p)
    return given, parameters


def _plans(parameters: dict[str, dict]) -> dict[str, list[RunConfig]]:
    return {name: [planned.config for planned in experiments.plan(p)] for name, p in parameters.items()}


def run(options: argparse.Namespace) -> int:
    """Plan all notebooks, do the missing runs once, render, and say where to look.

    Runs that fail do not end it: figures are drawn of all others, and the summary and the exit status tell.
    """
    started = time.monotonic()
    if options.profile:
        os.environ[profiling.WANTED] = "1"
    given, parameters = _parameters(options)
    if options.dry_run:
        print(costs.dry_run(parameters, options.workers))
        return 0
    plans = _plans(parameters)
    failures = []
    try:
        execute([config for plan in plans.values() for config in plan], options.workers, executor=options.executor)
    except RunsFailed as error:
        failures.append(str(error))
    output = home() / "figures" / (options.preset if not options.set else "custom")
    with _alone(output):
        stamps = {name: _stamp(name, given[name], plans[name]) for name in given}
        stale = {name: given[name] for name in given if not _is_rendered(name, output, stamps[name])}
        not_rendered = render.render(stale, output, options.workers or os.cpu_count() or 1) if stale else []
        for name in stale:
            if not (failures or any(line.startswith(name) for line in not_rendered)):
                _stamp_file(name, output).parent.mkdir(exist_ok=True)
                _stamp_file(name, output).write_text(stamps[name])
        page = render.gallery(list(given), options.preset, output)
    print(claims_table(output))
    n_rendered = len(given) - len(not_rendered)
    print(f"\n{n_rendered} of {len(given)} notebooks in {(time.monotonic() - started) / 60:.1f} min; open {page}")
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
    library = [file for package in ("alpt_lib", "companion") for file in sorted((REPOSITORY / package).rglob("*"))]
    sources = [render.NOTEBOOKS / f"{name}.ipynb", *(file for file in library if file.suffix in (".py", ".html", ".css", ".js"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    digest.update(repr((given, [results.run_id(config) for config in plan])).encode())
    return digest.hexdigest()


def _stamp_file(name: str, output: Path) -> Path:
    return output.parent / ".rendered" / f"{output.name}_{name}"


def _is_rendered(name: str, output: Path, stamp: str) -> bool:
    file = _stamp_file(name, output)
    return file.exists() and file.read_text() == stamp and (output / name / f"{name}.html").exists()


def claims_table(output: Path) -> str:
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
        lines.append(f"{row.claim:88.88} {paper:>7} {ours:>7}  {interval:>16} {row.n_seeds:5d}  {row.verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
