"""Takes the picture of the server's page in `docs/serving.md`, of what `make demo` made."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

PICTURE = Path(__file__).parents[1] / "docs" / "serve.png"
QUERY = "nodes whose removal disconnects the graph"


def main() -> None:
    parser = argparse.ArgumentParser(description="Take docs/serve.png in Debian's Chromium.")
    parser.add_argument("space", help="the folder of a Space, such as demo-space")
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--out", type=Path, default=PICTURE)
    asked = parser.parse_args()
    command = [sys.executable, "-m", "isometry", "serve", asked.space, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            take(address_of(server), asked.query, asked.out)
        finally:
            server.terminate()
    print(f"Wrote {asked.out}.")


def address_of(server: subprocess.Popen[str]) -> str:
    """What the server prints once it takes requests."""
    for line in server.stdout or ():
        if found := re.search(r"http://[\w.:]+\d", line):
            return found[0]
    raise SystemExit("The server ended before it took requests.")


def take(address: str, query: str, out: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1200, "height": 760}, color_scheme="light")
        page.goto(address)
        expect(page.locator("#proof")).to_be_visible(timeout=120_000)
        # The second time nothing waits for what is loaded on first use.
        for typed in (f"{query}s", query):
            page.fill("#query", typed)
            expect(page.locator("#status")).to_have_text(re.compile(r"^\d+ documents in "))
            expect(page.locator("#results li").first).to_be_visible()
            page.evaluate("fetch('healthz').then(answer => answer.text())")
        page.screenshot(path=out)
        browser.close()


if __name__ == "__main__":
    main()
