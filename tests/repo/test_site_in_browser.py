"""The site in a browser: Chromium on a phone's screen and on a desk's."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from helpers.paths import REPOSITORY

webdriver = pytest.importorskip("selenium.webdriver")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.once,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="no Chromium: install chromium and chromium-driver",
    ),
]

SCREENS = {"phone": (390, 844), "desk": (1280, 900)}
# What a reader sees is wider than the screen, and does not scroll by itself.
OVERFLOWS = """
const own = "pre, .highlight, .md-typeset__scrollwrap, .md-typeset__table";
return [...document.querySelectorAll(".md-content *")]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
    .filter(e => !e.closest(own))
    .map(e => e.tagName + ": " + e.textContent.slice(0, 60));
"""
BROKEN = """
return [...document.images]
    .filter(image => !image.complete || !image.naturalWidth)
    .map(image => image.src);
"""
WIDTHS = "return [document.documentElement.scrollWidth, innerWidth];"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "-d", str(folder)],
        cwd=REPOSITORY,
        check=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    return folder


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(DRIVER)
    found = webdriver.Chrome(options=options, service=service)
    yield found
    found.quit()


@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_fits_the_screen(site, browser, screen, tmp_path):
    """Screenshots stay in the test's folder, to be looked at."""
    width, height = SCREENS[screen]
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": screen == "phone",
        },
    )
    pages = [p for p in sorted(site.rglob("*.html")) if p.name != "404.html"]
    assert len(pages) > 20
    for page in pages:
        wrong = look(browser, page)
        name = pathlib.Path(page).relative_to(site).as_posix()
        shot = tmp_path / f"{name.replace('/', '_')}.png"
        assert browser.save_screenshot(str(shot))
        assert not wrong, (name, wrong)


def look(browser, page):
    """What is wrong with a page: a list of strings."""
    browser.get(page.as_uri())
    wide, screen = browser.execute_script(WIDTHS)
    wrong = [] if wide <= screen else [f"the page is {wide} pixels wide"]
    wrong += browser.execute_script(OVERFLOWS)
    wrong += browser.execute_script(BROKEN)
    return wrong + [
        entry["message"]
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE"
    ]
