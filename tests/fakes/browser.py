"""Chromium, driven by selenium."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real browser without a window; tests that need it are skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip(
            "no chromium or chromedriver on this machine; on Debian: "
            "apt-get install chromium chromium-driver"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("no_proxy", "localhost,127.0.0.1")
        service = webdriver.ChromeService(executable_path=driver)
        started = webdriver.Chrome(options=options, service=service)
        try:
            yield started
        finally:
            started.quit()


def screen(browser: Any, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def find(browser: Any, css: str) -> Any:
    return browser.find_element("css selector", css)


def read(browser: Any, css: str, expression: str) -> list[Any]:
    """A JavaScript expression of each element `e`, at one moment: the page may change itself."""
    script = f"return [...document.querySelectorAll(arguments[0])].map((e) => {expression})"
    return list(browser.execute_script(script, css))


def wait(browser: Any, condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until a condition is true; elements that the page replaces meanwhile do not matter."""
    from selenium.common import NoSuchElementException, StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    replaced = (NoSuchElementException, StaleElementReferenceException)
    waiting = WebDriverWait(browser, seconds, poll_frequency=0.05, ignored_exceptions=replaced)
    waiting.until(lambda _: condition())


def is_shown(browser: Any, css: str) -> bool:
    """Whether a page has loaded, with its scripts, that has such an element."""
    script = "return document.readyState === 'complete' && !!document.querySelector(arguments[0])"
    return bool(browser.execute_script(script, css))


def picture(browser: Any, name: str) -> None:
    """Save a picture of the page for the documents, where BIML_SCREENSHOTS names their folder."""
    if folder := os.environ.get("BIML_SCREENSHOTS"):
        find(browser, "body").screenshot(str(Path(folder) / f"{name}.png"))
