"""Make the picture of the README: the demo's evaluation page, as a browser shows it.

Run: make docs (needs chromium, and a demo: make demo)
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
IMAGE = Path(__file__).parent / "images" / "evaluation.png"
SIZE = "1100,900"


def main() -> None:
    """Take a screenshot of the newest page in demo/reports."""
    pages = sorted(Path("demo/reports").glob("*.html"), key=lambda file: file.stat().st_mtime)
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if not pages or browser is None:
        sys.exit("A page and a browser are needed; run: make demo, and install chromium.")
    with tempfile.TemporaryDirectory() as profile:
        options = [
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
            *("--disable-background-networking", f"--user-data-dir={profile}"),
            *("--virtual-time-budget=8000", f"--window-size={SIZE}", f"--screenshot={IMAGE}"),
        ]
        subprocess.run([browser, *options, pages[-1].resolve().as_uri()], check=True)


if __name__ == "__main__":
    main()
