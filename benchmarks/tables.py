"""Write the results of the last runs as tables into benchmarks/README.md: python benchmarks/tables.py"""

import json
from pathlib import Path

HERE = Path(__file__).parent
MARK = "<!-- written by tables.py -->\n"


def number(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(rows: list[dict]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [
        columns,
        ["---"] * len(columns),
        *[[number(row.get(c, "")) for c in columns] for row in rows],
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def section(file: Path) -> str:
    record = json.loads(file.read_text(encoding="utf-8"))
    m = record["machine"]
    where = (
        f"{m['cores']} cores ({m['cpu']}), {m['gpu'] or 'no GPU'}, torch on {m['torch_threads']} thread(s), load "
        f"{m['load_1_min']}, commit {record['commit']}, torch {record['versions']['torch']}"
    )
    return f"### {file.stem}\n{where}\n\n{table(record['rows'])}\n"


if __name__ == "__main__":
    readme = HERE / "README.md"
    files = [
        f
        for f in sorted(HERE.glob("results/*.json"))
        if "machine" in json.loads(f.read_text(encoding="utf-8"))
    ]
    head = readme.read_text(encoding="utf-8").partition(MARK)[0]
    readme.write_text(head + MARK + "\n" + "\n".join(map(section, files)), encoding="utf-8")
