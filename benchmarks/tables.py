"""Write results of the last runs as tables into README.md: python benchmarks/tables.py"""

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
    lines = [columns, ["---"] * len(columns)]
    lines += [[number(row.get(c, "")) for c in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def section(name: str, record: dict) -> str:
    m = record["machine"]
    where = (
        f"{m['cores']} cores ({m['cpu']}), {m['gpu'] or 'no GPU'}, torch on {m['torch_threads']} "
        f"thread(s), load {m['load_1_min']}, commit {record['commit']}, "
        f"torch {record['versions']['torch']}"
    )
    return f"### {name}\n{where}\n\n{table(record['rows'])}\n"


if __name__ == "__main__":
    files = sorted(HERE.glob("results/*.json"))
    records = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    sections = [section(name, each) for name, each in records.items() if "machine" in each]
    readme = HERE / "README.md"
    head = readme.read_text(encoding="utf-8").partition(MARK)[0]
    readme.write_text(head + MARK + "\n" + "\n".join(sections), encoding="utf-8")
