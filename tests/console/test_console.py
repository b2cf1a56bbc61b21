"""The console in a real browser, over two real colos under a little load."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.console.browser import NARROW, WIDE, Looking
from tests.console.cluster import COLOS, THEIR_TOKEN
from tests.console.cutting import relayed
from tests.system.harness import CHAT, TOKEN, Up, processes_of

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("up")]
Look = Callable[..., Looking]
VIEWS = ("overview", "scaling", "requests", "playground")
EVIL = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>'
NAMELESS = """() => [...document.querySelectorAll("button, a, input, select, textarea, [role=img]")]
    .filter((each) => !(each.getAttribute("aria-label") || each.innerText || each.labels?.length
        || each.closest("label")))
    .map((each) => each.outerHTML.slice(0, 200))"""
NOT_A_VALUE = re.compile(r"NaN|undefined|null|Infinity|\[object")


def pick(page: Page, model: str) -> None:
    page.get_by_label("Model", exact=True).select_option(model)
    expect(page.get_by_label("Model", exact=True)).to_have_value(model)


def run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()


def refusals(looking: Looking) -> list[str]:
    """Take out what Chromium says by itself of answers that were no success."""
    said = [each for each in looking.complaints if each.startswith("Failed to load resource")]
    looking.complaints[:] = [each for each in looking.complaints if each not in said]
    return said


def test_a_wrong_token_is_told_and_the_right_one_is_kept_in_the_tab_alone(look: Look) -> None:
    looking = look()
    page = looking.page
    page.goto(f"{looking.base}/console")

    page.get_by_label("API token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text(
        "This token is not known here, or it has expired."
    )
    expect(page.get_by_label("API token")).to_be_focused()
    page.get_by_label("API token").fill(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    kept = page.evaluate("[Object.values(sessionStorage), Object.values(localStorage)]")
    assert kept == [[TOKEN], []]
    assert looking.context.cookies() == []
    assert len(refusals(looking)) == 1
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API token")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_the_overview_tells_how_busy_each_colo_and_model_is(look: Look, busy: Up) -> None:
    refused = busy.client.run(CHAT, prompt="Hi", options={"totalMs": 1})
    code = str(refused.json()["errors"][0]["code"])
    page = look().enter(TOKEN)

    for colo in COLOS:
        row = page.get_by_label("Colos").get_by_role("row", name=re.compile(f"^{colo}"))
        expect(row).to_contain_text(re.compile(r"\d+ / \d\d"))
        expect(row).to_contain_text("Healthy")
        expect(page.locator("svg.map text", has_text=colo)).to_be_visible()
    model = page.get_by_role("row", name=re.compile("^text-generation"))
    expect(model.locator(".place")).to_have_count(2)
    expect(model.locator(".place b").last).to_have_text(re.compile(r"^\d / 4$"))
    drawn = page.get_by_label("Request rate", exact=True).locator("svg :is(path.line, circle)")
    expect(drawn).not_to_have_count(0)
    expect(page.get_by_label("Latency").locator(".legend")).to_contain_text(
        re.compile(r"99th \d[\d.]* (ms|s)")
    )
    expect(page.get_by_label("Errors by code")).to_contain_text(code)
    expect(page.locator('[data-key="Requests"] dd')).to_contain_text(re.compile(r"[1-9]"))
    assert not NOT_A_VALUE.search(page.locator("#app").inner_text())
    rate = page.get_by_label("Request rate", exact=True)
    rate.locator("svg.chart").focus()
    page.keyboard.press("ArrowLeft")
    expect(rate.locator(".legend")).to_contain_text(re.compile(r"at \d\d:\d\d:\d\d"))


def test_scaling_tells_what_is_expected_and_why(look: Look) -> None:
    page = look().enter(TOKEN, "scaling")

    page.get_by_role("button", name=re.compile("^text-generation")).click()
    chart = page.get_by_label("Demand of text-generation")
    expect(chart.locator("path.area")).not_to_have_count(0)
    expect(chart.locator("path.line")).not_to_have_count(0)
    expect(page.locator(".why").first).not_to_be_empty()
    instances = page.get_by_label("Instances")
    expect(instances.get_by_role("row", name=re.compile("ready.*ams"))).not_to_have_count(0)
    expect(instances.get_by_role("row", name=re.compile("ready.*iad-node"))).not_to_have_count(0)
    assert not NOT_A_VALUE.search(page.locator("#app").inner_text())


def test_a_stream_is_shown_as_it_comes_and_is_among_the_last_requests(look: Look) -> None:
    page = look().enter(TOKEN, "playground")
    pick(page, CHAT)
    page.get_by_label("prompt").fill("Tell me a long story.")
    page.get_by_text("More options").click()
    page.get_by_label(re.compile("^max tokens")).fill("120")

    run(page)
    expect(page.locator(".said")).not_to_be_empty()
    early = len(page.locator(".said").inner_text())
    expect(page.get_by_text("200 OK")).to_be_visible()
    assert early < len(page.locator(".said").inner_text())
    figures = page.locator(".figures")
    expect(figures).to_contain_text(re.compile(r"→ \d+"))
    out = re.search(r"→ \d+", figures.inner_text())  # at most 120: stories end where they end
    assert out

    page.get_by_role("link", name="its timing").click()
    row = page.locator("tr.marked")
    expect(row).to_contain_text(out[0])
    expect(row).to_contain_text("streamed")
    expect(row).to_contain_text("200")
    expect(row.locator(".split rect")).not_to_have_count(0)
    expect(row.get_by_role("button", name=re.compile("Less"))).to_be_visible()
    expect(page.locator("tr.more")).to_contain_text("to the first part")
    assert not NOT_A_VALUE.search(page.locator("#app").inner_text())


def test_a_stream_can_be_cancelled(look: Look) -> None:
    page = look().enter(TOKEN, "playground")
    pick(page, CHAT)
    page.get_by_text("More options").click()
    page.get_by_label(re.compile("^max tokens")).fill("512")

    run(page)
    expect(page.locator(".said")).not_to_be_empty()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancelled")).to_be_visible()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()

    page.get_by_role("link", name="its timing").click()
    expect(page.locator("tr.marked")).to_contain_text("cancelled")


def test_answers_are_shown_by_what_they_are(look: Look) -> None:
    page = look().enter(TOKEN, "playground")
    shown = {"text-to-image": "img", "text-to-speech": "audio", "translation": ".said"}

    for model, what in shown.items():
        pick(page, f"@cf/demo/{model}")
        run(page)
        expect(page.locator(f"#answer {what}:not(.coming)")).to_be_visible()
        expect(page.get_by_text("200 OK")).to_be_visible()

    pick(page, "@cf/demo/object-detection")
    page.get_by_role("button", name="Draw an example").click()
    expect(page.get_by_alt_text("What is sent")).to_be_visible()
    run(page)
    expect(page.locator("#answer")).to_contain_text("red circle")
    expect(page.locator("#answer .boxed rect")).not_to_have_count(0)


def test_a_refusal_names_the_field_that_it_is_about(look: Look) -> None:
    looking = look()
    page = looking.enter(TOKEN, "playground")
    pick(page, CHAT)
    page.get_by_text("More options").click()
    page.get_by_label(re.compile("^max tokens")).fill("9999")

    run(page)

    expect(page.locator("#answer")).to_contain_text("512")
    expect(page.get_by_label(re.compile("^max tokens"))).to_be_focused()
    assert len(refusals(looking)) == 1


def test_what_users_and_models_say_is_text(look: Look) -> None:
    page = look().enter(TOKEN, "playground")
    pick(page, "@cf/demo/dumb-pipe")
    page.get_by_label("The body as JSON").fill(json.dumps({"text": EVIL}))

    run(page)

    expect(page.get_by_text("200 OK")).to_be_visible()
    expect(page.locator("#answer")).to_contain_text("onerror")
    assert page.locator("#answer img, #answer script").count() == 0
    assert page.evaluate("window.hacked") is None


def test_accounts_see_their_own_requests_alone(look: Look) -> None:
    page = look().enter(THEIR_TOKEN, "requests")
    expect(page.get_by_text("sees its own account")).to_be_visible()
    expect(page.locator(".who")).to_contain_text("<b>Ursa</b> & Co")
    expect(page.get_by_text("No request yet.")).to_be_visible()

    page.get_by_role("link", name="Playground", exact=True).click()
    pick(page, "@cf/demo/translation")
    run(page)
    expect(page.get_by_text("200 OK")).to_be_visible()
    page.get_by_role("link", name="Requests", exact=True).click()
    expect(page.locator("tr[data-request]")).to_have_count(1)

    all_ = look().enter(TOKEN, "requests")
    expect(all_.locator("tr[data-request]", has_text="default").first).to_be_visible()
    one_model = all_.get_by_role("combobox", name="Model")
    one_model.select_option("@cf/demo/translation")  # of all, the load has soon more than is shown
    expect(all_.locator("tr[data-request]", has_text="<b>Ursa</b> & Co").first).to_be_visible()


def test_all_can_be_done_with_the_keyboard(look: Look) -> None:
    looking = look()
    page = looking.page
    page.goto(f"{looking.base}/console")
    page.keyboard.type(TOKEN)
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()
    page.reload()
    page.locator("#live", has_text="Live").wait_for()

    told = tabbed(page, 9)
    assert told[0] == "Skip to the content"
    assert told[1:5] == ["Overview", "Scaling", "Requests", "Playground"]
    assert told[6] == "Sign out"
    page.get_by_role("link", name="Skip to the content").focus()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    page.get_by_role("link", name="Playground", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Playground")).to_be_visible()
    page.get_by_label("prompt").focus()
    while "Run" not in tabbed(page, 1):
        pass
    page.keyboard.press("Enter")
    expect(page.locator(".said")).not_to_be_empty()


def tabbed(page: Page, times: int) -> list[str]:
    """Press Tab, and return what is reached, each of which must show that it is."""
    found = []
    for _ in range(times):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(
            """() => {
                const at = document.activeElement;
                const name = at.getAttribute("aria-label") || at.innerText || at.id || at.tagName;
                return [name.trim(), getComputedStyle(at).outlineStyle];
            }"""
        )
        assert outline != "none", name
        found.append(name)
    return found


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["390", "1600"])
def test_every_view_fits_the_screen_and_names_what_it_has(
    look: Look, size: tuple[int, int]
) -> None:
    page = look(size=size).enter(TOKEN)

    for view in VIEWS:
        page.evaluate("view => { location.hash = `#/${view}`; }", view)
        expect(page.get_by_role("heading", level=1)).to_have_text(view.capitalize())
        page.locator(".panel").first.wait_for()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0], view
        assert page.evaluate(NAMELESS) == [], view


def test_a_lost_connection_is_told_and_made_again(look: Look, busy: Up) -> None:
    with relayed(busy.http) as relay:
        looking = look(base=f"http://{relay.address}")
        page = looking.enter(TOKEN)

        relay.become("reset")
        expect(page.locator("#live")).to_have_text("Reconnecting")
        expect(page.get_by_text("Connecting again")).to_be_visible()
        relay.become("none")
        expect(page.locator("#live")).to_have_text("Live")
        relay.become("hang")
        expect(page.locator("#live")).to_have_text("Stale")
        relay.become("none")
        expect(page.locator("#live")).to_have_text("Live")
        looking.complaints.clear()  # Chromium says by itself what it could not load


def test_what_is_shown_while_analytics_hangs_is_told_to_be_old(look: Look, busy: Up) -> None:
    looking = look()
    page = looking.enter(TOKEN)
    (analytics,) = (pid for pid, each in processes_of(busy.state).items() if " analytics" in each)
    with page.expect_response(lambda each: "usage/requests" in each.url):
        page.goto(f"{looking.base}/console#/requests")

    os.kill(analytics, signal.SIGSTOP)
    try:
        expect(page.get_by_role("alert")).to_have_text(old("no answer in 15 s"), timeout=30_000)
    finally:
        os.kill(analytics, signal.SIGCONT)

    expect(page.get_by_role("alert")).to_have_count(0, timeout=30_000)


def test_traffic_is_told_to_be_old_while_analytics_does_not_answer(look: Look) -> None:
    looking = look()
    with looking.page.expect_response(lambda each: "group_by=error_code" in each.url):
        page = looking.enter(TOKEN)
    refused = {"errors": [{"message": "AiError: 7001: analytics cannot be reached"}]}

    page.route("**/usage?*", lambda route: route.fulfill(status=503, json=refused))
    expect(page.get_by_role("alert")).to_have_text(old("analytics cannot be reached"))
    page.unroute("**/usage?*")

    expect(page.get_by_role("alert")).to_have_count(0)
    assert refusals(looking)


def old(why: str) -> re.Pattern[str]:
    moment = r"What is shown is of \d\d:\d\d:\d\d\."
    return re.compile(rf"^Analytics does not answer: {why}\. {moment}$")


def test_light_and_dark_are_as_the_system_has_them_or_as_is_said(look: Look) -> None:
    looking = look(scheme="dark")
    page = looking.enter(TOKEN)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)

    page.get_by_role("button", name="Colors: as the system").click()
    light = page.evaluate(ground)
    page.get_by_role("button", name="Colors: light").click()

    assert light != dark
    assert page.evaluate(ground) == dark
    page.reload()
    expect(page.get_by_role("button", name="Colors: dark")).to_be_visible()


WRITTEN = [
    ("number", 0, "0"),
    ("number", 0.002, "0.002"),
    ("number", 1234, "1,234"),
    ("number", 2_500_000, "2.5 M"),
    ("duration", 0.42, "0.42 ms"),
    ("duration", 37.4, "37 ms"),
    ("duration", 1240, "1.24 s"),
    ("duration", 186_000, "3.1 min"),
    ("percent", 0.0004, "< 0.1 %"),
    ("percent", 0.033, "3.3 %"),
    ("percent", 0.5, "50 %"),
    ("bytes", 1536, "1.5 KiB"),
]
NEAR = [("ams", 4.8, -52.3), ("lhr", -0.5, -51.5), ("fra", 8.6, -50.0), ("iad", -77.5, -39.0)]


def test_numbers_have_units_events_are_cut_and_labels_stand_apart(look: Look) -> None:
    page = look().enter(TOKEN)

    written = page.evaluate(
        """async (cases) => {
            const format = await import("/console/format.js");
            return cases.map(([name, value]) => format[name](value));
        }""",
        [[name, value] for name, value, _ in WRITTEN],
    )
    cut = page.evaluate(
        """async () => {
            const { cut, parsed } = await import("/console/events.js");
            const text = ": hi\\n\\nevent: end\\ndata: a\\ndata: b\\r\\n\\r\\ndata: c";
            const [whole, rest] = cut(text);
            return [whole.map(parsed), rest];
        }"""
    )
    boxes = page.evaluate(
        """async (points) => {
            const { arranged } = await import("/console/labels.js");
            const made = arranged(points.map(([name, x, y]) => ({ name, x, y, more: "3/28" })));
            return made.map((each) => each.label.box);
        }""",
        [list(each) for each in NEAR],
    )

    assert written == [text for _, _, text in WRITTEN]
    assert cut == [
        [{"event": "message", "data": None}, {"event": "end", "data": "a\nb"}],
        "data: c",
    ]
    for at, one in enumerate(boxes):
        for other in boxes[:at]:
            is_beside = one["left"] >= other["right"] or other["left"] >= one["right"]
            assert is_beside or one["top"] >= other["bottom"] or other["top"] >= one["bottom"]
