"""A host that looks allowed and is not, passes in no spelling; what is checked is what is connected to."""

import re
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from posttrain.guard.egress.addresses import literal
from posttrain.guard.egress.hosts import PORTS, Hosts, Refused, Target, authority, site, target

ALLOWED = "api.example.com"

TRUE = [
    "https://api.example.com",
    "https://api.example.com/",
    "HTTPS://API.EXAMPLE.COM/v1",
    "hTTps://Api.eXample.Com?q=1",
    "https://api.example.com./v1",
    "https://api.example.com:443/v1",
    "https://API.example.com.:443/v1?q=1#top",
    "https://api.example.com/@evil.test",
    "https://api.example.com//evil.test/",
    "https://api.example.com?u=https://evil.test",
    "https://api.example.com?@evil.test",
    "https://api.example.com#@evil.test",
    "https://api.example.com/#\\@evil.test",
    "https://api.example.com/\\evil.test",
    "https://api.example.com/a;b=c:d?e[]=f",
]
"""Every one of these is connected to api.example.com."""

ELSEWHERE = {
    "https://api.example.com.evil.test/": "api.example.com.evil.test",
    "https://evil-api.example.com/": "evil-api.example.com",
    "https://evilapi.example.com/": "evilapi.example.com",
    "https://api.example.com-evil.test/": "api.example.com-evil.test",
    "https://api.example.community/": "api.example.community",
    "https://api.example.co/": "api.example.co",
    "https://api-example.com/": "api-example.com",
    "https://apiexample.com/": "apiexample.com",
    "https://example.com/": "example.com",
    "https://x.api.example.com/": "x.api.example.com",
    "https://www.api.example.com./": "www.api.example.com",
    "https://api.examp1e.com/": "api.examp1e.com",
    "https://api.exarnple.com/": "api.exarnple.com",
    "https://api.example.com.evil.test./api.example.com": "api.example.com.evil.test",
    "https://evil.test/api.example.com": "evil.test",
    "https://evil.test/@api.example.com": "evil.test",
    "https://evil.test?@api.example.com/": "evil.test",
    "https://evil.test#@api.example.com/": "evil.test",
    "https://evil.test?https://api.example.com": "evil.test",
    "https://evil.test#api.example.com": "evil.test",
    "https://xn--pi-6kc.example.com/": "xn--pi-6kc.example.com",
    "https://\u0430pi.example.com/": "xn--pi-6kc.example.com",  # Cyrillic a
    "https://ap\u0456.example.com/": "xn--ap-ioc.example.com",  # Cyrillic i
    "https://api.ex\u03b1mple.com/": "api.xn--exmple-qxe.com",  # Greek alpha
    "https://api.exampl\u00e9.com/": "api.xn--exampl-gva.com",
    "https://93.184.216.34/": "93.184.216.34",
    "https://[2001:DB8::1]/": "2001:db8::1",
    "https://[::ffff:93.184.216.34]/": "::ffff:5db8:d822",
}
"""Hosts that these lead to."""

REFUSED = [
    # users
    "https://api.example.com@evil.test/",
    "https://api.example.com:443@evil.test/",
    "https://api.example.com:pass@evil.test/",
    "https://@api.example.com/",
    "https://evil.test@api.example.com/",
    "https://user:pass@api.example.com/",
    "https://api.example.com%40evil.test/",
    "https://evil.test%40api.example.com/",
    "https://a@b@api.example.com/",
    # backslashes
    "https://api.example.com\\@evil.test/",
    "https://evil.test\\@api.example.com/",
    "https://api.example.com\\.evil.test/",
    "https:\\\\api.example.com/",
    "https:/\\api.example.com/",
    "https://\\api.example.com/",
    "\\\\api.example.com/",
    # characters that parsers drop
    "https://api.example\t.com/",
    "https://api.exam\nple.com/",
    "https://api.example.com\r\nHost: evil.test/",
    "https://evil.test/\r\nHost:api.example.com",
    "https://api.example.com\x00.evil.test/",
    "https://api.example.com\x0b/",
    "https://api.example.com\x7f/",
    "https://api.example.com\x85/",
    "https://api.example.com .evil.test/",
    "https://api.example.com/a b",
    " https://api.example.com/",
    "https://api.example.com/\u2028",
    "https://api.example.com\u00a0/",
    "https://api.example.com/\ud800",
    "ht\ttps://api.example.com/",
    "https:\n//api.example.com/",
    # encodings
    "https://api%2eexample.com/",
    "https://api.example%2Ecom/",
    "https://%61pi.example.com/",
    "https://api.example.com%00.evil.test/",
    "https://api.example.com%2f@evil.test/",
    "https://api.example.com%23.evil.test/",
    # characters that stand for others
    "https://ａｐｉ.example.com/",
    "https://api.example\u3002com/",
    "https://api\uff0eexample.com/",
    "https://api.example\uff61com/",
    "https://api.example.com\uff0fevil.test/",
    "https://api.example.com\uff1f.evil.test/",
    "https://api.example.com\uff03.evil.test/",
    "https://evil.test\uff20api.example.com/",
    "https://api.example.com\u2100.evil.test/",  # the sign a/c
    "https://api.e\u00adxample.com/",
    "https://api.example\u200b.com/",
    "https://ap\u200di.example.com/",
    "https://api.exa\u200cmple.com/",
    "https://\ufeffapi.example.com/",
    "https://api.example.com\u2060/",
    "https://api.example.\u212aom/",  # the Kelvin sign
    "https://\u24d0pi.example.com/",  # a in a circle
    "https://api.example.com:\uff14\uff14\uff13/",
    "https://api.example.com:\u0664\u0664\u0663/",
    "https://\u0661\u0662\u0663.example.com/",
    "https://\u0645\u062b\u0661.example.com/",  # an Arabic digit where it may stand
    "https://\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example.com/",  # a joiner where it may stand
    "https://api\ufe0f.example.com/",  # a variation selector, which is dropped
    "https://api.\U0001f600.com/",
    # punycode that is none
    "https://xn--api.example.com/",
    "https://xn--.example.com/",
    "https://xn--api-.example.com/",
    "https://xn--zzzzzz.example.com/",
    # dots and labels
    "https://api.example.com../",
    "https://.api.example.com/",
    "https://api..example.com/",
    "https://./",
    "https://-api.example.com/",
    "https://api-.example.com/",
    "https://_api.example.com/",
    "https://a_b.example.com/",
    "https://*.example.com/",
    "https://api.example.com,evil.test/",
    "https://api.example.com;evil.test/",
    "https://api.example.com&evil.test/",
    'https://api.example.com".evil.test/',
    "https://api.example.com|evil.test/",
    f"https://{'a' * 64}.example.com/",
    f"https://{'a.' * 126}com/",
    # ports
    "https://api.example.com:0/",
    "https://api.example.com:/",
    "https://api.example.com:65536/",
    "https://api.example.com:+443/",
    "https://api.example.com:-443/",
    "https://api.example.com:0443/",
    "https://api.example.com:443:443/",
    "https://api.example.com:443.evil.test/",
    "https://api.example.com:evil.test/",
    "https://api.example.com:4_43/",
    "https://:443/",
    # addresses in other notations
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.0.0.01/",
    "https://127.0.0.1./",
    "https://127.0.0.256/",
    "https://1.2.3.4.5/",
    "https://api.example.1/",
    "https://api.example.0x7f/",
    "https://api.example.0x/",
    "https://::1/",
    "https://[fe80::1%25eth0]/",
    "https://[fe80::1%eth0]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[2001:0db8::1]/",
    "https://[::1]evil.test/",
    "https://[::1]x443/",
    "https://[::1/",
    "https://[127.0.0.1]/",
    "https://[api.example.com]/",
    "https://[v1.api]/",
    "https://[]/",
    # what comes before the host
    "",
    "api.example.com",
    "//api.example.com/",
    "/api.example.com",
    "https:api.example.com",
    "https:/api.example.com/",
    "https:///api.example.com/",
    "https:////api.example.com/",
    "https://?api.example.com",
    "https://#api.example.com",
    "https//api.example.com/",
    "httpS\u017f://api.example.com/",
    "http\u017f://api.example.com/",
    "://api.example.com/",
    "ftp://api.example.com/",
    "file://api.example.com/",
    "javascript://api.example.com/",
    "ws://api.example.com/",
    "blob:https://api.example.com/",
    "view-source:https://api.example.com/",
    "https+x://api.example.com/",
    "api.example.com://evil.test/",
    "api.example.com:443/",
]


class TestSpellings:
    """Hand-written ones."""

    def test_there_are_enough_of_them(self):
        assert len(set(REFUSED) | set(ELSEWHERE)) == len(REFUSED) + len(ELSEWHERE) >= 60

    @pytest.mark.parametrize("url", TRUE)
    def test_a_true_one_is_matched(self, url):
        found = target(url)
        assert (found.host, found.port) == (ALLOWED, 443)
        assert Hosts([ALLOWED]).match(found.host, found.port, (443,)) == ALLOWED

    @pytest.mark.parametrize(("url", "host"), ELSEWHERE.items())
    def test_one_that_leads_elsewhere_is_read_as_that_and_not_matched(self, url, host):
        found = target(url)
        assert found.host == host
        assert Hosts([ALLOWED]).match(found.host, found.port, (443,)) is None

    @pytest.mark.parametrize("url", REFUSED)
    def test_one_that_can_be_read_in_two_ways_is_refused_with_a_sentence(self, url):
        with pytest.raises(Refused) as caught:
            target(url)
        sentence = str(caught.value)
        assert sentence.endswith(".")
        assert sentence[0].isupper()
        assert "evil" not in sentence
        assert "api" not in sentence

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("https://api.example.com@evil.test/", "user"),
            ("https://api.example.com\\@evil.test/", "user"),
            ("https://api.example.com\\.evil.test/", "backslash"),
            ("https://api%2eexample.com/", "%"),
            ("https://api.exam\tple.com/", "U+0009"),
            ("https://api.example\u3002com/", "U+3002"),
            ("https:api.example.com", "two slashes"),
            ("https:///api.example.com/", "no host"),
            ("https://0x7f.1/", "four decimal numbers"),
            ("https://[::1]evil.test/", "Only a port"),
            ("https://::1/", "in brackets"),
        ],
    )
    def test_the_sentence_says_why(self, url, says):
        with pytest.raises(Refused, match=re.escape(says)):
            target(url)

    @pytest.mark.parametrize("port", [80, 444, 8443, 1, 65535])
    def test_another_port_is_not_matched(self, port):
        found = target(f"https://api.example.com:{port}/")
        assert found.port == port
        assert Hosts([ALLOWED]).match(found.host, found.port, (443,)) is None

    def test_http_has_a_port_of_its_own(self):
        assert target("http://api.example.com/").port == 80


class TestTarget:
    """What is sent."""

    @pytest.mark.parametrize(
        ("url", "path"),
        [
            ("https://a.test", "/"),
            ("https://a.test?q", "/?q"),
            ("https://a.test/%2e%2E/%zz?%", "/%2e%2E/%zz?%"),
            ("https://a.test/ü?q=日", "/%C3%BC?q=%E6%97%A5"),
            ("https://a.test/a?b#c?d#e", "/a?b"),
            ('https://a.test/<>"^`{|}\\', "/%3C%3E%22%5E%60%7B%7C%7D%5C"),
            ("https://a.test/a/../b//c;d=e:f@g?h=/?!$&'()*+,[]~", "/a/../b//c;d=e:f@g?h=/?!$&'()*+,[]~"),
        ],
    )
    def test_the_path(self, url, path):
        assert target(url).path == path

    @given(st.text(max_size=40))
    @settings(max_examples=200, deadline=None)
    def test_the_path_is_printable_ascii_and_sends_itself_again(self, rest):
        try:
            found = target(f"https://a.test/{rest}")
        except Refused:
            return
        assert found.path.startswith("/")
        assert re.fullmatch(r"[!-~]+", found.path)
        assert target(f"https://a.test{found.path}") == found

    @pytest.mark.parametrize(
        ("url", "header"),
        [
            ("https://a.test:443/", "a.test"),
            ("http://a.test:443/", "a.test:443"),
            ("https://[::1]/", "[::1]"),
            ("http://[::1]:8080/", "[::1]:8080"),
        ],
    )
    def test_the_host_header(self, url, header):
        assert target(url).authority == header

    @given(st.sampled_from([*TRUE, *ELSEWHERE]))
    def test_what_it_gives_leads_to_the_same_again(self, url):
        found = target(url)
        assert target(f"{found.scheme}://{found.authority}{found.path}") == found

    def test_a_name_may_be_as_long_as_names_can_be(self):
        name = ".".join(["a" * 63] * 3 + ["a" * 61])
        assert target(f"https://{name}./").host == name
        with pytest.raises(Refused, match="253"):
            target(f"https://{name}a/")

    def test_a_port_must_be_written_where_none_is_meant(self):
        assert authority("A.test:443") == ("a.test", 443)
        assert authority("[::1]:1") == ("::1", 1)
        assert authority("a.test", 80) == ("a.test", 80)
        for text in ("a.test", "[::1]", "a.test:443/", "", "a.test:443 "):
            with pytest.raises(Refused):
                authority(text)


def by_the_standard(url):
    """The host by the regular expression of RFC 3986, appendix B, and its grammar of an authority."""
    found = re.match(r"(?:([^:/?#]+):)?(?://([^/?#]*))?", url)
    return re.sub(r":\d*$", "", (found[2] or "").rpartition("@")[2])


def by_a_browser(url):
    """The host as the WHATWG URL parser finds it: tabs and newlines dropped, backslashes taken for slashes."""
    url = re.sub(r"[\t\r\n]", "", url.strip("".join(map(chr, range(33))))).replace("\\", "/")
    rest = url.partition(":")[2].lstrip("/")
    return re.sub(r":\d*$", "", re.split(r"[/?#]", rest)[0].rpartition("@")[2])


def by_urllib(url):
    return urlsplit(url).hostname or ""


PIECES = st.sampled_from((
    "https", "HTTP", ":", "/", "//", "\\", "@", "?", "#", ".", "%2e", "%40", "%", "\t", "\r\n", " ", "\x00", "[", "]",
    "api.example.com", "API", "api", "example", "com", "evil.test", "xn--", "-", "_", "443", ":443", "0", "0x7f", "::1",
    "\u3002", "\uff0e", "\u00ad", "\u200b", "\uff0f", "\uff20", "\uff41", "\u0430", "\u212a", "\u0664", "\ud800",
))  # fmt: skip


@st.composite
def mutations(draw):
    """True spellings with up to three places changed, and loose pieces after a scheme."""
    if draw(st.booleans()):
        return "https://" + "".join(draw(st.lists(PIECES, max_size=7)))
    url = draw(st.sampled_from(TRUE))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(url)))
        url = url[:at] + draw(PIECES | st.characters()) + url[at + draw(st.integers(0, 2)) :]
    return url


class TestGenerated:
    """Spellings that nobody thought of."""

    @given(mutations())
    @settings(max_examples=1500, deadline=None)
    @example("https://api.example.com:443/")
    def test_what_passes_is_the_host_for_every_reader(self, url):
        try:
            found = target(url)
        except Refused:
            return
        if Hosts([ALLOWED]).match(found.host, found.port, (443,)):
            assert found.host == ALLOWED
            for read in (by_the_standard, by_a_browser, by_urllib):
                assert read(url).lower().removesuffix(".") == ALLOWED

    @given(mutations() | st.text(max_size=30).map("https://{}".format))
    @settings(max_examples=500, deadline=None)
    def test_every_reader_finds_what_is_connected_to(self, url):
        """Names in ASCII: readers differ in how they encode others."""
        try:
            found = target(url)
        except Refused:
            return
        assert isinstance(found, Target)
        assert found.scheme in PORTS
        assert literal(found.host) or re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", found.host)
        assume(by_the_standard(url).isascii())
        for read in (by_the_standard, by_a_browser, by_urllib):
            assert read(url).lower().removesuffix(".").strip("[]") == found.host

    @given(st.text(max_size=20))
    @settings(max_examples=300, deadline=None)
    def test_no_label_outside_of_ascii_becomes_one_inside(self, label):
        try:
            host = target(f"https://{label}.example.com/").host
        except Refused:
            return
        if host.endswith(".example.com") and not label.isascii() and "/" not in label:
            assume(not set("?#") & set(label))
            assert any(part.startswith("xn--") for part in host.split("."))


class TestPatterns:
    """What a policy may say."""

    @pytest.mark.parametrize(
        ("pattern", "host", "port"),
        [
            ("API.Example.com", "api.example.com", 443),
            ("api.example.com.", "api.example.com", 443),
            ("*.example.com", "a.b.example.com", 443),
            ("*.Example.com:8443", "a.example.com", 8443),
            ("api.example.com:8443", "api.example.com", 8443),
            ("bücher.de", "xn--bcher-kva.de", 443),
            ("*.bücher.de", "a.xn--bcher-kva.de", 443),
            ("10.0.0.1", "10.0.0.1", 443),
            ("[::1]:8080", "::1", 8080),
            ("[2001:DB8::1]", "2001:db8::1", 443),
            ("localhost", "localhost", 443),
            ("*.test", "a.test", 443),
            ("github.io", "github.io", 443),
            ("*.octo.github.io", "a.octo.github.io", 443),
        ],
    )
    def test_one_names_hosts(self, pattern, host, port):
        assert Hosts([pattern]).match(host, port, (443,)) == pattern

    @pytest.mark.parametrize(
        ("pattern", "host", "port"),
        [
            ("*.example.com", "example.com", 443),
            ("*.example.com", "evilexample.com", 443),
            ("*.example.com", "a.example.com.evil.test", 443),
            ("api.example.com", "a.api.example.com", 443),
            ("api.example.com", "api.example.com", 8443),
            ("api.example.com:8443", "api.example.com", 443),
            ("*.example.com:8443", "a.example.com", 443),
            ("10.0.0.1", "10.0.0.10", 443),
            ("10.0.0.1", "::ffff:a00:1", 443),
            ("[::1]", "1", 443),
            ("*.test", "test", 443),
        ],
    )
    def test_one_names_no_others(self, pattern, host, port):
        assert Hosts([pattern]).match(host, port, (443,)) is None

    @pytest.mark.parametrize(
        "name", ["com", "co.uk", "github.io", "ck", "foo.ck", "kawasaki.jp", "xn--p1ai", "рф", "zz"]
    )
    def test_hosts_of_many_owners_cannot_be_named_at_once(self, name):
        with pytest.raises(ValueError, match="many owners"):
            Hosts([f"*.{name}"])

    @pytest.mark.parametrize("name", ["com", "CO.uk", "com.:443", "foo.ck", "xn--p1ai"])
    def test_a_public_suffix_is_no_host(self, name):
        with pytest.raises(ValueError, match="public suffix"):
            Hosts([name])

    @pytest.mark.parametrize(
        ("pattern", "says"),
        [
            ("https://api.example.com", "the host alone"),
            ("api.example.com/v1", "the host alone"),
            ("api.example.com?q", "the host alone"),
            ("api.example.com ", "the host alone"),
            ("10.0.0.0/8", "the host alone"),
            ("a.test b.test", "the host alone"),
            ("*", "must come first"),
            ("*example.com", "must come first"),
            ("api.*.com", "must come first"),
            ("*.*.com", "must come first"),
            ("a.test:*", "must come first"),
            ("*.10.0.0.1", "before an address"),
            ("*.[::1]", "before an address"),
            ("", "no host"),
            ("*.", "no host"),
            ("::1", "stands in brackets"),
            ("user@a.test", "leave it"),
            ("a.test:0", "1 to 65535"),
            ("a.test:99999", "1 to 65535"),
            ("010.0.0.1", "four decimal numbers"),
            ("a_b.test", "inner hyphens"),
            ("*.xn--zzzzzz.test", "IDNA"),
        ],
    )
    def test_one_that_cannot_be_read_is_refused_with_what_to_write(self, pattern, says):
        with pytest.raises(ValueError, match=re.escape(says)) as caught:
            Hosts([pattern])
        assert repr(pattern) in str(caught.value)

    def test_the_closest_one_is_given(self):
        hosts = Hosts(["*.c.test", "*.b.c.test", "a.b.c.test", "a.b.c.test:443", "*.c.test:8443"])
        assert hosts.match("a.b.c.test", 443, (443,)) == "a.b.c.test:443"
        assert hosts.match("a.b.c.test", 80, (80,)) == "a.b.c.test"
        assert hosts.match("z.b.c.test", 443, (443,)) == "*.b.c.test"
        assert hosts.match("a.b.c.test", 8443, (443,)) == "*.c.test:8443"

    def test_the_registrable_domain(self):
        assert site("a.b.example.co.uk") == "example.co.uk"
        assert site("a.octo.github.io") == "octo.github.io"
        for same in ("github.io", "com", "localhost", "10.0.0.1", "::1", "example.test"):
            assert site(same) == same


LABELS = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(".".join)
NAMES = LABELS.map("{}.test".format) | st.sampled_from(["10.0.0.1", "10.0.0.2"])
PATTERNS = st.tuples(
    LABELS.map("{}.test".format).flatmap(lambda n: st.sampled_from([n, f"*.{n}"])) | st.just("10.0.0.1"),
    st.sampled_from(["", ":443", ":8443"]),
).map("".join)


def by_looking_through(patterns, host, port, ports):
    """The closest pattern by trying all: the exact one, then the longest, then one with a port, then the first."""
    found = []
    for at, pattern in enumerate(patterns):
        name, _, wanted = pattern.partition(":")
        if port not in ((int(wanted),) if wanted else ports):
            continue
        have, want = host.split("."), name.split(".")
        if want == have or (want[0] == "*" and have[-len(want[1:]) :] == want[1:] and len(have) >= len(want)):
            found.append((want[0] == "*", -len(want), not wanted, at, pattern))
    return min(found)[-1] if found else None


class TestLooksUp:
    """Many patterns."""

    @given(
        st.lists(PATTERNS, max_size=12), NAMES, st.sampled_from([443, 8443]), st.sampled_from([(), (443,), (443, 8443)])
    )
    @settings(max_examples=500, deadline=None)
    def test_as_a_look_through_all_of_them_finds(self, patterns, host, port, ports):
        assert Hosts(patterns).match(host, port, ports) == by_looking_through(patterns, host, port, ports)

    def test_ten_thousand_as_one(self):
        hosts = Hosts([f"h{i}.example{i}.com" for i in range(5000)] + [f"*.s{i}.example.com" for i in range(5000)])
        assert hosts.match("h4321.example4321.com", 443, (443,)) == "h4321.example4321.com"
        assert hosts.match("a.b.s4321.example.com", 443, (443,)) == "*.s4321.example.com"
        assert hosts.match("h4321.example4322.com", 443, (443,)) is None


def test_a_list_of_what_is_denied_may_name_whole_zones():
    hosts = Hosts(["*.zip", "*.github.io"], whole_zones=True)
    assert hosts.match("a.zip", 443, (443,)) == "*.zip"
    assert hosts.match("me.github.io", 443, (443,)) == "*.github.io"
    assert hosts.match("zip.test", 443, (443,)) is None
