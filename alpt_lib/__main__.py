"""The command line: `python -m alpt_lib run` plans, executes, renders and reports (run_all.sh calls it)."""

import argparse
import hashlib
import os
import sys
import time
from pathlib import Path

import pandas as pd

from alpt_lib import datasets, experiments, render, results
from alpt_lib.config import CompanionError, RunConfig
from alpt_lib.execute import execute, missing
from alpt_lib.paths import home, runs_folder


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0, or 1 with one line on stderr that says what is wrong; 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(prog="alpt_lib", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run", help="regenerate figures")
    run_parser.add_argument("--preset", default="mini", help=f"{', '.join(experiments.PRESETS)} (default: mini)")
    run_parser.add_argument("--only", metavar="01,05", help="only these notebooks, by number or name")
    run_parser.add_argument("--workers", type=int, default=0, help="worker processes (default: one per core)")
    run_parser.add_argument("--dry-run", action="store_true", help="say what would run, how long, how much disk")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except CompanionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Plan all notebooks, do the missing runs once, render, and say where to look."""
    started = time.monotonic()
    names = render.select(options.only)
    parameters = {name: render.notebook_parameters(name, options.preset) for name in names}
    for p in parameters.values():
        experiments.prepare(experiments.check_parameters({**p, "workers": options.workers}))
    plans = {name: [planned.config for planned in experiments.plan(p)] for name, p in parameters.items()}
    if options.dry_run:
        print(dry_run(plans, options.workers))
        return 0
    execute([config for plan in plans.values() for config in plan], options.workers)
    output = home() / "figures" / options.preset
    stamps = {name: _stamp(name, parameters[name], plans[name]) for name in names}
    stale = [name for name in names if not _is_rendered(name, options.preset, stamps[name])]
    failures = render.render(stale, options.preset, output, options.workers or os.cpu_count() or 1) if stale else []
    for name in stale:
        if not any(failure.startswith(name) for failure in failures):
            _stamp_file(name, options.preset).write_text(stamps[name])
    page = render.gallery(names, options.preset, output)
    print(claims_table(output))
    print(f"\n{len(names) - len(failures)} of {len(names)} notebooks in {(time.monotonic() - started) / 60:.1f} min; open {page}")
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _stamp(name: str, parameters: dict, plan: list[RunConfig]) -> str:
    """Hash of everything that decides a rendered notebook: its text, the library, its parameters and runs."""
    library = Path(render.__file__).parent
    sources = [render.NOTEBOOKS / f"{name}.ipynb", *sorted(library.rglob("*.py")), *sorted(library.glob("templates/*"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    digest.update(repr((parameters, [results.run_id(config) for config in plan])).encode())
    return digest.hexdigest()


def _stamp_file(name: str, preset: str) -> Path:
    return runs_folder() / f"{preset}_{name}.rendered"


def _is_rendered(name: str, preset: str, stamp: str) -> bool:
    file = _stamp_file(name, preset)
    return file.exists() and file.read_text() == stamp and (home() / "figures" / preset / name / f"{name}.html").exists()


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


def dry_run(plans: dict[str, list[RunConfig]], workers: int) -> str:
    """Runs per notebook and in total, shared ones counted once, with time and disk from a short probe on this machine."""
    seconds = {config: _fit_seconds(config) for config in {_probe_key(c) for plan in plans.values() for c in plan}}
    lines, seen = [f"{'notebook':28} {'runs':>5} {'to do':>6} {'fits':>6} {'CPU or GPU time':>16}"], set()
    total_seconds = 0.0
    for name, plan in plans.items():
        todo = [c for c in missing(plan) if c not in seen]
        seen.update(todo)
        fits = sum(_fits(c) for c in todo)
        cost = sum(_fits(c) * seconds[_probe_key(c)] for c in todo)
        total_seconds += cost
        lines.append(f"{name:28} {len(set(plan)):5d} {len(todo):6d} {fits:6d} {cost / 60:12.1f} min")
    processes = workers or os.cpu_count() or 1
    minutes, rendering = total_seconds / 60 / processes, len(plans) * 10 / 60 / min(processes, 2)
    lines.append(f"\n{len(seen)} runs to do, at most {minutes:.1f} min in {processes} worker process(es), if every fit takes "
                 f"all its steps; notebooks take about {rendering:.1f} min more")
    lines.append(f"disk: about {sum(_fits(c) for c in seen) * 12 / 1024 + len(plans):.0f} MB for runs and figures")
    return "\n".join(lines)


def _probe_key(config: RunConfig) -> RunConfig:
    return RunConfig(config.dataset, config.model, "random", 0, config.weights, (), config.protocol, config.recipe)


def _fits(config: RunConfig) -> int:
    rounds = range(config.protocol.n_rounds + 1)
    every = config.protocol.eval_every if config.acquisition == "random" else 1
    return sum(r % every == 0 or r == rounds[-1] for r in rounds)


def _fit_seconds(config: RunConfig) -> float:
    """Seconds of one fit of all its steps, scoring and evaluation included, measured on a few steps and images."""
    import numpy as np
    import torch

    from alpt_lib.config import override
    from alpt_lib.training import Learner

    torch.set_num_threads(1)
    data = datasets.load(Path(config.dataset))
    recipe = override(config.recipe, {"max_steps": 2, "stopping": "fixed_steps"}, "recipe")
    learner = Learner(data, config.model, recipe, config.weights, 0)
    rows, rng = np.arange(min(config.recipe.train_batch_size, len(data.labels("pool")))), np.random.default_rng(0)
    learner.fit(rows, rng)
    start = time.monotonic()
    learner.fit(rows, rng)
    step = (time.monotonic() - start) / 2
    start = time.monotonic()
    learner.predict_probs("pool", rows)
    score = (time.monotonic() - start) / len(rows)
    n_scored = (config.protocol.pool_subsample or len(data.rows("pool"))) + sum(len(data.rows(s)) for s in data.eval_splits)
    return step * config.recipe.max_steps + score * n_scored


if __name__ == "__main__":
    sys.exit(main())
