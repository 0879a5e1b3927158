"""The page in a real browser: what it shows is what was computed, and it asks nobody else."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import browser as real
from benchmarks.browser import Browser, asked, sent, server
from flow import Trajectory
from flow.explore.cli import main
from flow.explore.compute import outcome
from flow.explore.frames import ZERO, encode
from flow.explore.links import from_link, link

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        real.CHROMIUM is None or real.DRIVER is None,
        reason="needs chromium and chromedriver (Debian: chromium chromium-driver)",
    ),
]
DEFAULT = "?n=64&m=128&seed=0&lam=0.01"


@pytest.fixture(scope="module")
def address():
    with server() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(folder):
    opened = Browser(folder)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def nothing_is_wrong(browser):
    """After every test: no error on the console, no request that leaves the machine."""
    browser.errors()
    browser.messages()
    yield
    assert browser.errors() == []
    here = ("http://localhost:", "ws://localhost:", "file:")
    outside = [url for url in asked(browser.messages()) if not url.startswith(here)]
    assert outside == []


def final(query: str) -> np.ndarray:
    return outcome(from_link(query)).run.final


def test_signs_on_the_page_are_those_of_the_run(browser, address):
    browser.open(address + DEFAULT)
    W = final(DEFAULT)
    np.testing.assert_array_equal(np.sign(browser.codes().astype(int) - ZERO), np.sign(W))
    assert "6 polysemantic neurons" in browser.status()


def test_a_control_that_is_released_makes_another_run_and_its_link_makes_it_again(browser, address):
    browser.open(address + DEFAULT)
    browser.run("m('lam').value = -1.5; m('lam').value_throttled = -1.5")
    wanted = "?n=64&m=128&seed=0&lam=0.0316"
    browser.wait("return location.search == arguments[0]", wanted)
    codes = browser.codes()
    np.testing.assert_array_equal(codes, encode(final(wanted)))
    browser.open(address + browser.link())
    np.testing.assert_array_equal(browser.codes(), codes)
    assert browser.link() == wanted


def test_interference_switched_off_on_the_way_gives_the_bits_of_its_link(browser, address):
    browser.open(address + DEFAULT)
    t = browser.run("m('time').value = 50; return m('frames').data.t[50]")
    browser.run("m('kind').value = 'switch interference'")
    browser.press("branch here")
    wanted = f"{DEFAULT}&off=interference@{t:.6g}"
    browser.wait("return location.search == arguments[0]", wanted)
    np.testing.assert_array_equal(browser.codes(), encode(final(wanted)))
    assert browser.run("return m('frames_before').data.t.length") > 0
    assert browser.run("return document.body.classList.contains('branched')")
    browser.run("m('tree').active = 0")
    browser.wait("return location.search == arguments[0]", DEFAULT)
    np.testing.assert_array_equal(browser.codes(), encode(final(DEFAULT)))


def test_a_flip_on_a_benign_pair_rests_on_a_saddle(browser, address):
    browser.open(address + DEFAULT + "&flip=47,16@565.06")
    assert "saddle" in browser.status()


def test_an_opposed_copy_lowers_the_count_by_one(browser, address):
    browser.open(address + DEFAULT + "&duplicate=16,0.01,1,opposed@565.06")
    assert "5 polysemantic neurons" in browser.status()


def test_a_change_that_cannot_be_is_refused_in_a_sentence(browser, address):
    browser.open(address + DEFAULT)
    browser.run("m('m').value = 100000")
    browser.wait("return m('progress').text.includes('256 × 1024')")
    assert browser.run("return m('m').value") == 128
    browser.open(address + "?lamb=3")
    assert "did you mean lam" in browser.status()


def test_scrubbing_playing_and_pointing_ask_nothing_of_the_server(browser, address):
    browser.open(address + DEFAULT)
    browser.wait("return m('exact').data.t.length > 0")
    browser.messages()
    seen = set()
    browser.run("m('which').active = 1")
    for k in (0, 20, 40, 60):
        browser.run("m('time').value = arguments[0]", k)
        browser.wait(
            "return m('drawn_w').data.image[0].reduce((n, x) => n + (x != 128), 0) == arguments[0]",
            int(np.sum(browser.codes(k) != ZERO)),
        )
        seen.add(browser.run("return m('said_w').text"))
    browser.run("m('order_by').value = 'start'")
    browser.press("step ›")
    browser.wait("return m('time').value == 61")
    assert len(seen) > 2
    assert sent(browser.messages()) == 0


def test_more_seeds_fill_the_histogram(browser, address):
    browser.open(address + "?n=16&m=24&seed=3&lam=0.03")
    browser.press("20 more seeds")
    browser.wait("return m('seeds').data.runs.reduce((a, b) => a + b, 0) == 20")


def test_the_download_is_a_trajectory(browser, address, folder):
    browser.open(address + DEFAULT)
    browser.press("download .npz")
    browser.wait("return m('download').data.name.length == 1")
    path = folder / "run.npz"
    for _ in range(100):
        if path.exists():
            break
        browser.wait("return true")
    np.testing.assert_array_equal(Trajectory.load(path).final, final(DEFAULT))


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_is_as_wide_as_its_window(browser, address, width):
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    try:
        browser.open(address + DEFAULT + "&off=interference@20")
        assert browser.run("return document.documentElement.scrollWidth") <= width
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_saved_page_scrubs_without_a_server(browser, tmp_path, capsys):
    path = tmp_path / "page.html"
    assert main([DEFAULT, "--save", str(path)]) == 0
    browser.messages()
    browser.open(path.as_uri())
    np.testing.assert_array_equal(browser.codes(), encode(final(DEFAULT)))
    before = browser.run("return Array.from(m('drawn_w').data.image[0])")
    browser.run("m('time').value = 10")
    assert browser.run("return Array.from(m('drawn_w').data.image[0])") != before
    assert asked(browser.messages()) == [path.as_uri()]


def test_keys_move_the_time(browser, address):
    browser.open(address + DEFAULT)
    end = browser.run("return m('time').value")
    browser.run(
        """
        const handle = (root) => {
          for (const e of root.querySelectorAll("*")) {
            if (e.getAttribute("role") == "slider") found.push(e)
            if (e.shadowRoot) handle(e.shadowRoot)
          }
        }
        const found = []
        handle(document)
        const time = found.find((e) => e.getAttribute("aria-valuemax") == `${m("time").end}.0`)
        time.focus()
        time.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft", bubbles: true}))
        """
    )
    assert browser.run("return m('time').value") == end - 1


def test_a_link_is_the_whole_state(browser, address):
    query = "?n=24&m=32&seed=5&lam=0.02&mu=0.001&off=feature-benefit&on=feature-benefit@3"
    browser.open(address + query)
    assert from_link(browser.link()) == from_link(query)
    assert browser.link() == link(from_link(query))
