"""Pages of a web site as Debian's chromium shows them, without a screen and without a network."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

CHROMIUM: Final = Path("/usr/bin/chromium")
CHROMEDRIVER: Final = Path("/usr/bin/chromedriver")
PHONE_WIDTH: Final = 390  # Pixels, as most phones of today have or more.

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # Does not start as root otherwise.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
    # Asks nobody but the server for anything, be it for itself or for a page.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Of the messages in the console.
_BAD_LEVELS: Final = ("WARNING", "SEVERE")
_FIRST_BAD_STATUS: Final = 400
_LONGEST_ANSWER: Final = 10.0  # Seconds.


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve a folder to this machine; yields its address, which ends in "/"."""
    handler = partial(_QuietHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        # Looks often whether it is to end.
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Run a browser.

    Args:
        profile: Empty folder for what it keeps.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.ignore_local_proxy_environment_variables()
    # With a path, selenium does not look for a driver in the network.
    driver = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    try:
        driver.get("about:blank")  # Not its own first page, which asks for much.
        yield driver
    finally:
        driver.quit()


@dataclass(frozen=True)
class Visit:
    """What is wrong with a page; every list is empty if nothing is.

    Attributes:
        console: Messages that warn or tell of an error.
        elsewhere: Addresses that were asked of another server than the page's.
        failed: Addresses that were asked for in vain.
        blank: Pictures of which nothing is seen.
        too_wide: What reaches furthest beyond the edge of a phone that does not scroll sideways.
    """

    console: list[str]
    elsewhere: list[str]
    failed: list[str]
    blank: list[str]
    too_wide: list[str]


def visit(browser: webdriver.Chrome, address: str, page: str) -> Visit:
    """Load a page, unfold all that can be unfolded in it, and look at it.

    Args:
        browser: Has it as its page afterwards.
        address: Of the server, as `served` yields it.
        page: The path of its file.
    """
    for log in ("browser", "performance"):
        _log(browser, log)  # Forgets what the page before has said.
    browser.get(address + page)
    blank = browser.execute_async_script(_UNFOLD_AND_FIND_BLANK)
    with phone(browser):
        too_wide = browser.execute_script(_FIND_TOO_WIDE, PHONE_WIDTH)
    asked, failed = _requests(browser)
    messages = _log(browser, "browser")
    return Visit(
        console=[entry["message"] for entry in messages if entry["level"] in _BAD_LEVELS],
        elsewhere=[url for url in asked if not url.startswith((address, "data:"))],
        failed=failed,
        blank=blank,
        too_wide=too_wide,
    )


@contextmanager
def phone(browser: webdriver.Chrome) -> Iterator[None]:
    """Show pages as a phone does, which is held upright."""
    screen = {"width": PHONE_WIDTH, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@contextmanager
def without_scripts(browser: webdriver.Chrome) -> Iterator[None]:
    """Load pages whose scripts do not run."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def prefer_colours(browser: webdriver.Chrome, scheme: str) -> None:
    """Set what the system says that its user prefers: "light" or "dark"."""
    preference = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})


def _requests(browser: webdriver.Chrome) -> tuple[list[str], list[str]]:
    """Return the addresses that the page has asked for, and those that it did not get.

    Waits for the answers: a page may ask for more when it has been loaded.
    """
    asked: dict[str, str] = {}
    failed: dict[str, str] = {}
    answered: set[str] = set()
    end = time.monotonic() + _LONGEST_ANSWER
    while True:
        for event in _network_events(browser):
            its, id_ = event["params"], event["params"].get("requestId")
            match event["method"]:
                case "Network.requestWillBeSent":
                    asked[id_] = its["request"]["url"]
                case "Network.responseReceived" if its["response"]["status"] >= _FIRST_BAD_STATUS:
                    failed[id_] = str(its["response"]["status"])
                case "Network.loadingFailed":
                    failed.setdefault(id_, its["errorText"])
                    answered.add(id_)
                case "Network.loadingFinished":
                    answered.add(id_)
        if answered.issuperset(asked) or time.monotonic() > end:
            break
        time.sleep(0.02)
    failed |= dict.fromkeys(asked.keys() - answered, "no answer")
    return list(asked.values()), [f"{asked.get(id_, '?')}: {why}" for id_, why in failed.items()]


def _network_events(browser: webdriver.Chrome) -> list[dict[str, Any]]:
    entries = _log(browser, "performance")
    return [json.loads(entry["message"])["message"] for entry in entries]


def _log(browser: webdriver.Chrome, name: str) -> list[dict[str, Any]]:
    """Return what a log of the browser has got since it was last read."""
    return list(browser.get_log(name))  # type: ignore[no-untyped-call]


# The functions that scripts below have in common.
_NAMED: Final = """
const named = (element) => {
  const id = element.id && `#${element.id}`;
  const classes = [...element.classList].map((name) => `.${name}`).join("");
  const said = element.getAttribute("src") || element.getAttribute("aria-label")
    || element.textContent.trim().replace(/\\s+/g, " ").slice(0, 60);
  return `<${element.tagName.toLowerCase()}${id}${classes}> "${said}"`;
};
"""

_UNFOLD_AND_FIND_BLANK: Final = (
    _NAMED
    + """
const done = arguments[0];
for (const details of document.querySelectorAll("details")) details.open = true;
const loaded = [...document.images].map((image) => {
  image.loading = "eager";
  return image.complete || new Promise((go) => (image.onload = image.onerror = go));
});
Promise.all(loaded).then(() => {
  const images = [...document.images].filter((image) => image.naturalWidth === 0);
  const drawings = [...document.querySelectorAll('svg[role="img"]')].filter((drawing) => {
    const { width, height } = drawing.getBoundingClientRect();
    return width === 0 || height === 0;
  });
  // Scripts that wait for the page to be drawn have run then.
  requestAnimationFrame(() => setTimeout(() => done([...images, ...drawings].map(named))));
});
"""
)

_FIND_TOO_WIDE: Final = (
    _NAMED
    + """
const width = arguments[0];
const whole = document.documentElement.scrollWidth;
if (whole <= width) return [];
const scrolls = (element) => {
  for (let at = element.parentElement; at && at !== document.body; at = at.parentElement) {
    const style = getComputedStyle(at);
    if (style.overflowX !== "visible" || style.position === "fixed") return true;
  }
  return getComputedStyle(element).position === "fixed";
};
let widest = null, edge = width;
for (const element of document.body.querySelectorAll("*")) {
  const { right } = element.getBoundingClientRect();
  // The innermost of those that reach as far.
  if (right + scrollX >= edge && right + scrollX > width && !scrolls(element)) {
    [widest, edge] = [element, right + scrollX];
  }
}
const what = widest ? `${named(widest)} to ${Math.round(edge)} px` : "?";
return [`the page is ${whole} px wide, ${what}`];
"""
)
