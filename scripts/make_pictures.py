"""Rebuild docs/pictures from real runs: `make pictures`. Needs Chromium on the PATH (Debian: apt install chromium); about 8 minutes.

The terminal pictures are what preflight prints; the curves are TensorBoard's own page of a smoke run; the page of runs is of two short ones; bars are drawn from the report's
histogram and from the table of docs/benchmarks.md.
"""

import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

CHECKOUT = Path(__file__).resolve().parents[1]
PICTURES = CHECKOUT / "docs/pictures"
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
SAVES = ["--set", "save_steps=25", "--set", "eval_steps=25"]
STYLE = "body{font:15px sans-serif;margin:24px;background:#fff;color:#222}h1{font-size:17px}td{padding:2px 10px 2px 0;white-space:nowrap}"
STYLE += "div.bar{background:#3b73b9;height:18px}div.kit{background:#d1742c}"


def main() -> int:
    """Every picture; return the exit code."""
    if BROWSER is None:
        sys.stderr.write("pictures: no Chromium on the PATH (Debian: apt install chromium)\n")
        return 1
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        terminal(work, "report", ["--gpu", "l4", "--data", "sample_data", *SAVES])
        terminal(work, "gpus", ["--gpu", "all", "--data", "sample_data", *SAVES], after="The whole run", until="warning")
        lengths(work)
        benchmarks(work)
        curves(work)
        evaluation(work, work / "smoke")
        pages(work / "pages")
    return 0


def preflight(arguments: list[str], work: Path) -> str:
    command = [sys.executable, "-m", "preflight", *arguments, "--workspace", str(work / "workspace")]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "110"}).stdout


def terminal(work: Path, name: str, arguments: list[str], after: str = "", until: str = "") -> None:
    """What preflight prints, or a part of it, in a terminal's colours."""
    shown = ["python -m preflight " + " ".join(arguments), ""]
    lines = preflight(arguments, work).replace(str(work / "workspace"), "workspace").replace(str(CHECKOUT), ".").splitlines()
    if after:
        first = next(i for i, line in enumerate(lines) if after in line)
        last = next((i for i, line in enumerate(lines) if i > first and line.startswith(until)), len(lines))
        lines = lines[first:last]
    photograph_text(work, name, [*shown, *lines])


def photograph_text(work: Path, name: str, lines: list[str], width: int = 112) -> None:
    """Lines in a terminal's colours."""
    text = Text("\n".join(lines).rstrip())
    text.highlight_regex(r"(?m)^(error|warning|ok|info)\b.*$", "bold yellow")
    text.highlight_regex(
        r"(?m)^(subscription|project|plan|Drive|disk|workspace|GPU|data|tokens a row|rows by tokens|tokenizer|step|run|memory|time|cost|checkpoints|results|SQL answers|wrong because|wrong|expected|given|question|eval loss|exact answers|base|adapter) ",
        "bold cyan",
    )
    text.highlight_regex(r"(?m)^What changes.*$|^The whole run.*$|^No error\.|cheapest|fastest", "bold green")
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(text)
    svg = console.export_svg(title="preflight")
    height = round(float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', svg)[1]))  # type: ignore[index]
    (work / f"{name}.html").write_text(f"<body style='margin:0'>{svg}</body>", encoding="utf-8")
    photograph((work / f"{name}.html").as_uri(), name, round(1390 * width / 112), height + 12)


def lengths(work: Path) -> None:
    """How many rows have how many tokens, by the report's own histogram, of rows as long as the plan's."""
    from benchmarks.rows import write_rows

    rows = work / "rows"
    rows.mkdir()
    write_rows(rows, 8_234)
    report = json.loads(preflight(["--gpu", "l4", "--data", str(rows), "--json"], work))
    histogram = next(file["histogram"] for rows in report["data"]["folders"] for file in rows["files"] if file["name"].startswith("train"))
    bars = [(f"up to {most:,} tokens", count, "") for most, count in histogram if count]
    draw(work, "lengths", "8,234 rows as long as the plan's, by their tokens (sequence_len is 2,048)", bars)


def benchmarks(work: Path) -> None:
    """Tokens a second, as the first table of docs/benchmarks.md has them."""
    rows = re.findall(r"^\| (.+?) \| ([\d,]+) \| [\d.]+ \| \d+% \|", (CHECKOUT / "docs/benchmarks.md").read_text(encoding="utf-8"), re.M)
    bars = [(re.sub(r"[*`]", "", name), int(speed.replace(",", "")), "kit" if "kit's" in name else "") for name, speed in rows]
    draw(work, "benchmarks", "Real tokens a second, Mistral-7B's shape on one H100", bars)


def draw(work: Path, name: str, title: str, bars: list[tuple[str, int, str]]) -> None:
    most = max(value for _, value, _ in bars)
    rows = "".join(
        f"<tr><td>{html.escape(label)}<td><div class='bar {kind}' style='width:{420 * value / most:.0f}px'></div><td>{value:,}"
        for label, value, kind in bars
    )
    (work / f"{name}.html").write_text(f"<style>{STYLE}</style><h1>{title}</h1><table>{rows}</table>", encoding="utf-8")
    photograph((work / f"{name}.html").as_uri(), name, 1050, 80 + 26 * len(bars))


def curves(work: Path) -> None:
    """TensorBoard's page of a smoke run, which is trained for it."""
    from preflight.launch import tensorboard

    workspace = work / "smoke"
    command = [sys.executable, "-m", "preflight", "axolotl_configs/smoke.yaml", "--workspace", str(workspace), "--json"]
    report = json.loads(subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout)
    subprocess.run(report["command"], cwd=CHECKOUT, env=os.environ | report["environment"], check=True, capture_output=True)
    outputs = workspace / "runs/smoke/outputs"
    board, problem = tensorboard.start(outputs)
    if board is None:
        raise SystemExit(f"pictures: TensorBoard does not run: {problem}")
    try:
        photograph(
            f"http://localhost:{board.port}/?darkMode=false&tagFilter=%2Floss&smoothing=0#timeseries",
            "tensorboard",
            1300,
            600,
            ["mat-checkbox:has-text('Ignore outliers')", "button:has-text('Settings')"],
        )
    finally:
        tensorboard.stop(outputs)


def evaluation(work: Path, workspace: Path) -> None:
    """What the evaluation prints of the smoke run, with the proof of a wrong answer."""
    command = ["-m", "preflight.evaluation", "axolotl_configs/smoke.yaml"]
    done = subprocess.run(
        [sys.executable, *command, "--workspace", str(workspace)], cwd=CHECKOUT, capture_output=True, text=True, env=os.environ | {"COLUMNS": "110"}
    )
    lines = done.stdout.partition("\n\nquestion")[0].splitlines()  # an example follows, and where things lie
    photograph_text(work, "evaluation", [f"python {' '.join(command)}", "", *lines], width=120)


def pages(workspace: Path) -> None:
    """The page of two runs, short ones: two learning rates."""
    smoke = ["axolotl_configs/smoke.yaml", "--workspace", str(workspace)]
    for rate in ("0.002", "0.006"):
        changes = [f"learning_rate={rate}", "max_steps=90", "save_steps=30", "eval_steps=15"]
        command = [*smoke, "--name", f"rate-{rate}", *(part for change in changes for part in ("--set", change))]
        done = subprocess.run([sys.executable, "-m", "preflight", *command, "--json"], cwd=CHECKOUT, capture_output=True, text=True, check=True)
        report = json.loads(done.stdout)
        subprocess.run(report["command"], cwd=CHECKOUT, env=os.environ | report["environment"], check=True, capture_output=True)
        ask = [sys.executable, "-m", "preflight.evaluation", *smoke, "--name", f"rate-{rate}", "--questions", "60"]
        subprocess.run(ask, cwd=CHECKOUT, check=True, capture_output=True)
    photograph((workspace / "runs/index.html").as_uri(), "runs", 1100, 560)


def photograph(address: str, name: str, width: int, height: int, clicks: Sequence[str] = ()) -> None:
    """The page once it is still, after a click on each of these."""
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"]) as browser:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(address)
        page.wait_for_load_state("networkidle")
        for place in clicks:
            page.locator(place).first.click()
        if clicks:
            page.wait_for_timeout(3_000)  # curves glide to their place
        page.screenshot(path=PICTURES / f"{name}.png")
    sys.stderr.write(f"{PICTURES.relative_to(CHECKOUT) / name}.png\n")


if __name__ == "__main__":
    sys.path.insert(0, str(CHECKOUT))
    raise SystemExit(main())
