"""The README's pictures, of a system that runs: ``python -m tests.system.screenshots [URL]``.

Take them of ``weir demo`` on a machine that does nothing else, once a second version is in service
and the first one is its shadow.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.system.test_page import ARGUMENTS, CHROMIUM, WAIT_MS

FOLDER = Path(__file__).parents[2] / "docs/images"
PICTURES = {"console": (1280, 1180, 1), "console-phone": (390, 1150, 2)}


def main() -> None:
    """Write ``docs/images/<name>.png``."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080/"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name, (width, height, scale) in PICTURES.items():
            page = browser.new_page(
                viewport={"width": width, "height": height}, device_scale_factor=scale
            )
            page.goto(url)
            page.select_option("#window", index=1)
            for chart in ("throughput", "quality"):
                canvas = page.locator(f"#chart-{chart} canvas")
                expect(canvas).to_be_visible(timeout=WAIT_MS)
            # What versions are worth beside the shadow is asked for every ten seconds.
            expect(page.locator("#quality-lead")).to_be_visible(timeout=WAIT_MS)
            expect(page.locator("#state-text")).to_have_text("Live", timeout=WAIT_MS)
            page.screenshot(path=FOLDER / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
