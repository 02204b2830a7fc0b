"""A report of two hostile runs, opened in Debian's Chromium."""

import shutil

import pytest
from hostile_runs import TUNED, write_run

from cai_lightning.commands.compare import compare


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """The page of a report, as an address."""
    folder = tmp_path_factory.mktemp("report")
    runs = [write_run(folder / "base", is_tuned=False), write_run(folder / TUNED, is_tuned=True)]
    compare(runs, folder / "report")
    return (folder / "report" / "index.html").as_uri()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """The browser, with an empty profile and no connections of its own."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, report):
    """Opens the report anew; `page("q=word")` with a query behind the `#`."""

    def opened(query="", width=1280, scheme="light"):
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        chromium.get("about:blank")
        chromium.get_log("browser")
        chromium.get(report + (f"#{query}" if query else ""))
        return chromium

    return opened
