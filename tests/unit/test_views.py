"""Activities as metrics, as a page and as a live screen: all of it is there, and no name breaks them."""

import re
from html.parser import HTMLParser
from typing import Any, List, Tuple

import pytest
from activity_samples import BASE, BUSY, NOW, ODD, asked, odd
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from rcc.app.top import clock
from rcc.core.activity import Activity, Container
from rcc.core.openmetrics import render_metrics
from rcc.core.report_html import render_report
from rcc.core.top_screen import BAD, HEAD, Rates, View, rates_of, top_lines


@pytest.mark.parametrize("activities", [(), (BASE,), (BUSY, odd())])
def test_metrics_are_openmetrics(activities: Tuple[Activity, ...]) -> None:
    text = render_metrics(activities, "1.0")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["rcc_namespaces"].samples[0].value == len(activities)
    if activities == (BUSY, odd()):
        values = {(s.labels["name"], s.labels.get("result")): s.value for s in families["rcc_dns_results"].samples}
        assert values["box", "refused"] == 4 and values[ODD, "cached"] == 3
        traffic = {(s.labels["name"], s.labels["direction"]): s.value for s in families["rcc_traffic_bytes"].samples}
        assert (traffic["box", "sent"], traffic["box", "received"]) == (1000, 2000)


class Page(HTMLParser):
    """Counts what is in a page; every element is closed."""

    VOID = ("meta", "br", "line", "rect")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: List[str] = []
        self.text = ""
        self._open: List[str] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in ("meta",):
            self._open.append(tag)
        assert not [value for key, value in attrs if key.startswith("on") or key in ("src", "href")]

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report(activity: Activity) -> str:
    return render_report(activity, ["  host 443"], NOW, clock, "1.0")


def test_the_page_needs_nothing_else_and_shows_it_all() -> None:
    text = report(BUSY)
    page = Page(text)
    assert not re.search(r"https?://|url\(|<script|<link|<img", text)
    words = ("box", "evil.example A AAAA", "- host: evil.example", "api.example.com", "203.0.113.9", "python3", "+ x.")
    for word in words:
        assert word in page.text
    assert page.tags.count("rect") == 2 + 1 + 3, "names, a used address without one, refusals"
    assert "learn" not in Page(report(BUSY)).text and "learn" in Page(report(BUSY._replace(mode="learn"))).text


def test_no_name_breaks_the_page() -> None:
    text = report(odd())
    page = Page(text)
    assert "script" not in page.tags and "\x1b" not in text and "\u202e" not in text
    assert "<script>alert(1)" in page.text, "shown, not run"


@pytest.mark.parametrize("activity", [BASE, BASE._replace(since=NOW), BASE._replace(ended=NOW - 50)])
def test_a_page_about_nothing(activity: Activity) -> None:
    assert "Nothing was refused." in Page(report(activity)).text


def test_a_very_large_page_is_cut() -> None:
    many = BASE._replace(names=tuple(asked(f"n{number}.example") for number in range(2000)))
    page = Page(report(many))
    assert page.tags.count("tr") < 600 and "and 1500 more" in page.text


FIRST = View()


def screen(activities: List[Activity], view: View = FIRST, size: Tuple[int, int] = (140, 40)) -> List[Any]:
    rates = {one.netns: Rates(1500.0, 0.0, 2.5) for one in activities}
    return top_lines(activities, rates, view, size, NOW, clock)


def test_the_screen_shows_rates_connections_and_refusals() -> None:
    text = "\n".join(line.text for line in screen([BUSY]))
    for word in ("box", "1.5 KiB", "2.5", "api.example.com:443/tcp python3", "- host: evil.example"):
        assert word in text
    assert [line.style for line in screen([BUSY]) if "evil.example A AAAA by" in line.text] == [BAD], "just now"


def test_the_screen_fits_and_goes_along_with_the_choice() -> None:
    boxes = [(Container("c" * 64, f"box{number:03d}"),) for number in range(100)]
    every = [BASE._replace(netns=number, containers=box) for number, box in enumerate(boxes)]
    for size in ((80, 24), (20, 5), (1, 1), (200, 100)):
        for selected in (0, 50, 99, 500):
            found = screen(every, View(selected, "name"), size)
            assert len(found) < max(size[1], 1) + 1 and all(len(line.text) < max(size[0], 1) for line in found)
    text = "\n".join(line.text for line in screen(every, View(99, "name"), (100, 30)))
    assert "box099" in text and "of 100" in text and "box000" not in text
    assert screen([])[-1].text == "no isolated container runs" and screen([])[0].style == HEAD


def test_no_name_breaks_the_screen() -> None:
    assert all(line.text.isprintable() for line in screen([odd()]))


def test_rates_are_since_the_look_before() -> None:
    later = BUSY._replace(sent=3000, received=2500, queries=(("queries", 20),))
    assert rates_of(later, {BUSY.netns: BUSY}, 2.0) == Rates(1000.0, 250.0, 4.0)
    assert rates_of(later, {}, 2.0) == rates_of(BUSY, {BUSY.netns: later._replace(since=1.0)}, 2.0) == Rates(0, 0, 0)
    assert rates_of(BUSY, {BUSY.netns: later}, 2.0) == Rates(0, 0, 0), "a counter that began anew"
