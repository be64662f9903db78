"""The site of the examples: on this machine only, and gone with its `with` body."""

from __future__ import annotations

import urllib.error

import pytest

from millhand.examples.loopback import Site, browse, serve


class Echo(Site):
    def post(self):
        self.answer(200, self.body.upper())


@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # where nobody listens: a browser that asked it would fail
    with serve(Echo) as address:
        yield address


def test_a_site_answers_on_this_machine_whatever_the_proxy(site):
    assert site.startswith("http://127.0.0.1:")
    assert browse(site, b"tea") == "TEA"


def test_what_a_site_does_not_answer_is_refused(site):
    with pytest.raises(urllib.error.HTTPError, match="405") as refused:
        browse(site)
    refused.value.close()


def test_a_site_is_gone_with_its_body():
    with serve(Site) as address:
        pass

    with pytest.raises(urllib.error.URLError, match="refused"):
        browse(address)
