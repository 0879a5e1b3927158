"""The page in a real browser: what it shows is what was computed, and it asks nobody else."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import browser as real
from benchmarks.browser import Browser, asked, sent, server
from flow import FeatureBenefit, Interference, Regularization, Trajectory, gaussian_init, integrate
from flow.explore.cli import main
from flow.explore.compute import outcome
from flow.explore.frames import ZERO, encode
from flow.explore.links import from_link, link
from theory.equilibrium import critical_lambda

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
    seen, said = set(), browser.run("return m('said_plane').text")
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
    browser.point("w", 5.5, 5.5)
    browser.wait("return m('lit').text != '' && m('drawn_edges').selected.indices.length > 0")
    browser.click("g", 3.5, 7.5)
    browser.wait("return m('said_plane').text != arguments[0]", said)
    assert len(seen) > 2
    assert sent(browser.messages()) == 0


def lit(browser) -> dict:
    """How much is lit in every panel."""
    return browser.run(
        """
        const size = (name) => m(name).get_length()
        return {
          W: size("drawn_lit_w"), G: size("drawn_lit_g"), norms: size("drawn_lit_norms"),
          times: size("drawn_lit_times"), plane: size("drawn_lit_path"),
          edges: m("drawn_edges").selected.indices.length,
          nodes: m("drawn_nodes").selected.indices.length,
          meetings: m("meetings").selected.indices.length,
          moments: m("moments").selected.indices.length,
          said: m("lit").text,
        }
        """
    )


def test_what_is_pointed_at_is_lit_in_every_panel(browser, address):
    browser.open(address + DEFAULT)
    order = browser.run("return ['features', 'neurons'].map((x) => [...m('order').data[x][0]])")
    row, column = order[0].index(47), order[1].index(16)
    browser.point("w", column + 0.5, row + 0.5)
    browser.wait("return m('lit').text.includes('Feature 47 on neuron 16')")
    found = lit(browser)
    assert found["nodes"] == 2
    assert (found["W"], found["G"]) == (2, 2)
    assert found["edges"] == 2  # 47 and 53 on 16
    assert min(found.values(), key=lambda x: x if isinstance(x, int) else 1) >= 1
    frames = outcome(from_link(DEFAULT)).frames
    shown = browser.run("return [...m('drawn_lit_norms').data.survivors]")
    np.testing.assert_array_equal(shown, np.count_nonzero(frames.weights[:, 47], axis=1))
    browser.point("w", -5.0, row + 0.5)
    browser.wait("return m('lit').text == ''")
    assert not any(lit(browser).values())
    y = browser.run("return m('drawn_nodes').data.y[arguments[0]]", row)
    browser.point("graph", 0.0, y)
    browser.wait("return m('lit').text.startsWith('Feature 47;')")
    t, lane, first = browser.run(
        "const d = m('meetings').data; return [d.began[0], d.y[0], d.first[0]]"
    )
    browser.point("events", t, lane, lanes="lanes")
    browser.wait("return m('lit').text.startsWith(`Features ${arguments[0]} and `)", first)
    assert lit(browser)["meetings"] >= 1


def test_a_weight_that_is_clicked_is_the_one_that_is_flipped(browser, address):
    browser.open(address + DEFAULT)
    order = browser.run("return ['features', 'neurons'].map((x) => [...m('order').data[x][0]])")
    browser.click("w", order[1].index(16) + 0.5, order[0].index(47) + 0.5)
    browser.wait("return m('feature').value == 47 && m('neuron').value == 16")
    assert "Features 47 and 53 on neuron 16" in browser.run("return m('said_plane').text")
    browser.click("g", 3.5, 7.5)
    browser.wait("return m('feature').value == null && m('neuron').value == null")
    held = browser.run("return m('lit').text")
    browser.point("g", 3.5, -5.0)
    assert held == browser.run("return m('lit').text")
    assert "Features" in held
    browser.click("w", order[1].index(16) + 0.5, order[0].index(47) + 0.5)
    browser.run("m('kind').value = 'flip the weight'")
    browser.press("branch here")
    browser.wait("return location.search.includes('flip=47,16@')")
    assert "saddle" in browser.status()
    assert browser.run("return m('feature').value") == 47


def test_every_feature_has_its_row_however_few_neurons_there_are(browser, address):
    browser.open(address + "?n=2&m=1&seed=228&lam=0.05")
    ranges = "return ['x_range', 'y_range'].map((r) => [m('w')[r].start, m('w')[r].end])"
    assert browser.run(ranges) == [[0, 1], [2, 0]]


def test_any_two_futures_stand_side_by_side(browser, address):
    one, two = f"{DEFAULT}&off=interference@20", f"{DEFAULT}&lam=0.05@30"
    browser.open(address + one)
    browser.run("m('tree').active = 0")
    browser.wait("return location.search == arguments[0]", DEFAULT)
    browser.run(
        "m('time').value = m('frames').data.t.findIndex((t) => t > 25); m('kind').value = 'λ ='; "
        "m('value').value = 0.05"
    )
    t = browser.run("return m('frames').data.t[m('time').value]")
    two = f"{DEFAULT}&lam=0.05@{t:.6g}"
    browser.press("branch here")
    browser.wait("return location.search == arguments[0]", two)
    at = browser.run("return m('tree').labels.findIndex((x) => x.includes('off=interference'))")
    browser.run("m('beside').value = `${arguments[0]}`", at)
    browser.wait("return m('other').text.includes('off=interference@20')")
    flat, shape = browser.run(
        "const w = m('frames_before').data.W.at(-1); return [Array.from(w), w.shape]"
    )
    np.testing.assert_array_equal(np.reshape(flat, shape), encode(final(one)))
    np.testing.assert_array_equal(browser.codes(), encode(final(two)))
    browser.run("m('time').value = m('time').end")
    assert browser.run("return m('drawn_differences').get_length()") > 0


def test_the_critical_strength_is_marked_where_the_slider_has_it(browser, address):
    browser.open(address + DEFAULT + "&c=0.1")
    for name in ("lam", "coupling"):
        at, start, end = browser.run(
            """
            const slider = m(arguments[0]), root = Bokeh.index.find_one(slider).shadow_el
            const bar = root.querySelector(".noUi-base")
            const {left} = getComputedStyle(bar, "::after"), {width} = bar.getBoundingClientRect()
            return [parseFloat(left) / width, slider.start, slider.end]
            """,
            name,
        )
        critical = float(critical_lambda(c=0.1)) * (1.0 if name == "lam" else 128**0.5 / 0.1)
        assert start + at * (end - start) == pytest.approx(np.log10(critical), abs=0.02)


def test_a_panel_is_saved_as_pixels_and_as_vectors(browser, address, folder):
    browser.open(address + "?n=4&m=6&seed=3&lam=0.03")
    browser.run("m('svg w').do.emit()")
    browser.run("m('w').toolbar.tools.find((tool) => tool.filename == 'w').do.emit('save')")
    svg, png = (come(browser, folder / f"w.{kind}") for kind in ("svg", "png"))
    drawn = ElementTree.parse(svg)
    kinds = {element.tag.split("}")[-1] for element in drawn.iter()}
    assert {"svg", "path", "text", "image"} <= kinds
    assert png.read_bytes().startswith(b"\x89PNG")


def come(browser, path):
    """A file, once it has been downloaded."""
    for _ in range(100):
        if path.exists():
            break
        browser.wait("return true")
    return path


def test_more_seeds_fill_the_histogram(browser, address):
    browser.open(address + "?n=16&m=24&seed=3&lam=0.03")
    browser.press("20 more seeds")
    browser.wait("return m('seeds').data.runs.reduce((a, b) => a + b, 0) == 20")


def test_the_download_is_a_trajectory(browser, address, folder):
    browser.open(address + DEFAULT)
    browser.press("download .npz")
    browser.wait("return m('download').data.name.length == 1")
    path = come(browser, folder / "run.npz")
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


def test_a_run_in_a_notebook_scrubs_in_its_frame(browser, tmp_path):
    forces = [FeatureBenefit(), Interference(), Regularization(0.03)]
    run = integrate(forces, gaussian_init(16, 24, seed=3), film=True)
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><meta charset='utf-8'>{run.explore()._repr_html_()}")
    browser.messages()
    browser.driver.get(path.as_uri())
    browser.driver.switch_to.frame(0)
    browser.wait("return window.explore_shown > 0 && m('frames').data.t.length > 0")
    np.testing.assert_array_equal(browser.codes(), encode(run.final))
    browser.run("m('which').active = 1; m('time').value = 3; m('feature').value = 2")
    browser.wait(
        "return m('drawn_w').data.image[0].reduce((n, x) => n + (x != 128), 0) == arguments[0]",
        int(np.sum(browser.codes(3) != ZERO)),
    )
    browser.wait("return m('lit').text.startsWith('Feature 2;')")
    browser.driver.switch_to.default_content()
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


def test_keys_play_and_step_unless_a_control_takes_them(browser, address):
    browser.open(address + DEFAULT)
    end = browser.run("return m('time').end")
    for key, time in (("ArrowLeft", end - 1), ("Home", 0), ("ArrowRight", 1), ("End", end)):
        browser.key(key)
        assert browser.run("return m('time').value") == time, key
    browser.key("Home")
    browser.key(" ")
    browser.wait("return m('time').value > 3")
    browser.key(" ")
    assert browser.run("return m('play').active") is False
    stopped = browser.run("return m('time').value")
    browser.run("Bokeh.index.find_one(m('seed')).input_el.focus()")
    browser.key("Home")
    assert browser.run("return m('time').value") == stopped


def test_a_link_is_the_whole_state(browser, address):
    query = "?n=24&m=32&seed=5&lam=0.02&mu=0.001&off=feature-benefit&on=feature-benefit@3"
    browser.open(address + query)
    assert from_link(browser.link()) == from_link(query)
    assert browser.link() == link(from_link(query))
