"""Four pictures of the page for README, taken of a finished run of `quick`.

    ./run_all.sh && .venv/bin/python docs/screenshots.py

Needs chromium (apt-get install chromium). Writes docs/images/*.webp, about 50 kB each. Only the generated set
is shown: the frames of the benchmarks belong to their owners.
"""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
DESK, LOW, PHONE = (1180, 900), (1180, 690), (390, 844)
OVERLAY = """const view = document.getElementById('browser-view');
view.value = 'overlay'; view.dispatchEvent(new Event('change'))"""
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# name: (size of the window, light or dark, what is done before the picture)
PICTURES = {
    "player": (DESK, "light", ""),
    "paths": (LOW, "dark", "document.getElementById('browser-paths').click()"),
    "overlay": (DESK, "light", OVERLAY),
    "phone": (PHONE, "dark", ""),
}


def take(page_file: Path) -> None:
    """Writes the pictures of one page."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, ((width, height), scheme, act) in PICTURES.items():
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(page_file.resolve().as_uri())
            page.wait_for_selector("#browser-inside[data-frame]")
            page.add_style_tag(content="nav { position: static !important; } html { scroll-padding-top: 0; }")
            if act:
                page.evaluate(act)
                page.wait_for_timeout(500)
            page.evaluate("document.getElementById('browser').scrollIntoView()")
            page.wait_for_timeout(300)
            image = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
            coded = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 82])[1]
            (IMAGES / f"{name}.webp").write_bytes(coded.tobytes())
            page.close()
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "reports" / "quick" / "index.html")
