"""Profiles and presets: what people write, read as they mean it or refused at its place."""

from ipaddress import ip_network
from typing import List, Tuple

import pytest
from rcc.core.errors import EX_CONFIG, ConfigError
from rcc.core.policy import CidrRule, HostRule, InternetRule, PeersRule, Ports
from rcc.core.policy_yaml import Layer, parse_layer, read_layer
from rcc.core.sources import PRESET

# The example of the documentation, by which the schema is known.
EXAMPLE = """\
version: 1
extends: default
presets: [anthropic, github, pypi]      # named host lists that the package ships and admins can add
egress:
  - host: api.example.com               # tcp/443 unless ports say otherwise; empty list = nothing allowed
  - host: "*.cdn.example.com"           # one or more labels; the apex is a name of its own
    ports: [443, 443/udp]
  - host: db.corp.example
    ports: [5432]
    private: true                       # the only way for a name to reach a private address
  - cidr: 203.0.113.0/24
    ports: [8000-8100/tcp]
  - host: host.containers.internal      # a service on the host itself, by port and only when named
    ports: [11434]
    private: true
  - peers: true                         # other containers on the same Podman networks
    ports: [5432]
  - internet: true                      # every public address; LAN and special ranges stay closed
ingress: published                      # published | none
dns: {mode: gateway, refresh: 5m}       # gateway | static
limits: {memory: 8G, cpus: 4, pids: 1024, nofile: 1024, egress_rate: 50mbit, egress_quota: 10G}
image: {allow: ["ghcr.io/acme/*"], require_digest: true}
on_denied: reject                       # reject (fast, honest errors) | drop
"""


def parse(text: str) -> Layer:
    return parse_layer(text.encode(), "p.yaml")


def problems(text: "str | bytes") -> List[Tuple[str, str, str]]:
    data = text.encode() if isinstance(text, str) else text
    return [(problem.where, problem.message, problem.hint) for problem in read_layer(data, "p.yaml").problems]


def egress(entry: str) -> str:
    return f"version: 1\negress:\n  - {entry}\n"


def notes(text: str) -> str:
    reading = read_layer(text.encode(), "p.yaml")
    assert not reading.problems
    return "\n".join(note.message for note in reading.notes)


def test_the_documented_example_is_read_as_it_says() -> None:
    layer = parse(EXAMPLE)
    assert layer.extends is not None and layer.extends.name == "default"
    assert [name.name for name in layer.presets] == ["anthropic", "github", "pypi"]
    assert layer.egress is not None
    plain, wild, db, cidr, host, peers, internet = layer.egress
    assert isinstance(plain, HostRule) and plain.ports == (Ports("tcp", 443, 443),) and not plain.private
    assert str(plain.where) == "p.yaml:5:5"
    assert isinstance(wild, HostRule) and wild.wildcard and wild.name == "cdn.example.com"
    assert wild.ports == (Ports("tcp", 443, 443), Ports("udp", 443, 443))
    assert isinstance(db, HostRule) and db.private
    assert isinstance(cidr, CidrRule) and cidr.network == ip_network("203.0.113.0/24")
    assert cidr.ports == (Ports("tcp", 8000, 8100),)
    assert isinstance(host, HostRule) and host.private
    assert isinstance(peers, PeersRule) and peers.ports == (Ports("tcp", 5432, 5432),)
    assert isinstance(internet, InternetRule) and internet.ports == ()
    assert {setting.key: setting.value for setting in layer.settings} == {
        "ingress": "published",
        "on_denied": "reject",
        "dns.mode": "gateway",
        "dns.refresh": 300,
        "limits.memory": 8 << 30,
        "limits.cpus": 4.0,
        "limits.pids": 1024,
        "limits.nofile": 1024,
        "limits.egress_rate": 50_000_000,
        "limits.egress_quota": 10 << 30,
        "image.allow": ("ghcr.io/acme/*",),
        "image.require_digest": True,
    }


def test_what_may_not_do_what_its_author_thinks_is_noted() -> None:
    assert "*.cdn.example.com opens names as they are asked for" in notes(EXAMPLE)
    assert "every name can be asked for" in notes("version: 1\ndns: {mode: static}\n")
    assert "stays closed but for rcc's own gateway" in notes(egress("host: dns.example\n    ports: [53/udp]"))


def test_a_missing_list_adds_nothing_and_an_empty_one_allows_nothing() -> None:
    assert parse("version: 1\n").egress is None
    assert parse("version: 1\negress: []\n").egress == ()


def test_every_problem_is_told_with_its_place_and_a_near_word() -> None:
    found = problems("version: 1\ningres: none\negress:\n  - hots: a.example\n  - host: b.example\n    ports: [x]\n")
    assert [where for where, _, _ in found] == ["p.yaml:2:1", "p.yaml:4:5", "p.yaml:4:5", "p.yaml:6:13"]
    assert "'ingress'" in found[0][2] and "'host'" in found[1][2]
    with pytest.raises(ConfigError) as raised:
        parse("version: 1\ningres: none\n")
    assert raised.value.exit_code == EX_CONFIG and raised.value.where == "p.yaml:2:1"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("null\n", "empty"),
        ("[]\n", "must be a mapping"),
        ("just words\n", "must be a mapping"),
        ("egress: []\n", "no version"),
        ("version: 2\n", "unknown version"),
        ("version: [1]\n", "unknown version"),
        ("version:\n", "no value"),
        ("version: 1\nversion: 1\n", "stands twice"),
        ("version: 1\negress:\n", "no value"),
        ("version: 1\negress: ~\n", "no value"),
        ("version: 1\negress: none\n", "must be a list"),
        ("version: 1\negress: {host: a.example}\n", "must be a list"),
        ("version: 1\negress: [a.example]\n", "must say what it is"),
        ("version: 1\negress: [[host, a.example]]\n", "must be a mapping"),
        ("version: 1\negress: []\npresets: [github]\n", "allows nothing, but presets"),
        ("version: 1\n---\nversion: 1\n", "second document"),
        ("version: 1\n\tegress: []\n", "no YAML"),
        ("version: 1\negress: [\n", "no YAML"),
        ("a: &a [x]\nb: *a\n", "anchors"),
        ("version: 1\negress: *x\n", ""),
        ("version: !!python/object/apply:os.system [id]\n", "tags"),
        ("version: !!int 1\n", "tags"),
        ("version: 1\n<<: {ingress: none}\n", "merge keys"),
        ("version: 1\n? [a, b]\n: c\n", "a key must be a word"),
        ("version: 1\n? {a: b}\n: c\n", "a key must be a word"),
        ("version: 1\nextends: [a]\n", "single word"),
        ("version: 1\nextends: ../../etc/passwd\n", "no name"),
        ("version: 1\nextends: no\n", "no name"),
        ("version: 1\npresets: [github, github]\n", "stands twice"),
        ("version: 1\npresets: {github: true}\n", "must be a list"),
        ("version: 1\ningress: no\n", "must be none or published"),
        ("version: 1\ningress: off\n", "must be none or published"),
        ("version: 1\ningress: [none]\n", "single word"),
        ("version: 1\non_denied: accept\n", "must be reject or drop"),
        ("version: 1\nmode: open\n", "must be enforce or learn"),
        ("version: 1\ndns: static\n", "must be a mapping"),
        ("version: 1\ndns: {mode: no}\n", "must be gateway or static"),
        ("version: 1\ndns: {refresh: 300}\n", "not a duration"),
        ("version: 1\ndns: {refresh: 5:00}\n", "not a duration"),
        ("version: 1\ndns: {refresh: 0s}\n", "too little"),
        ("version: 1\ndns: {refresh: 9d}\n", "too much"),
        ("version: 1\nlimits: {memory: 8}\n", "too little"),
        ("version: 1\nlimits: {memory: 1e9}\n", "not a size"),
        ("version: 1\nlimits: {memory: 8X}\n", "not a size"),
        ("version: 1\nlimits: {memory: -1}\n", "not a size"),
        ("version: 1\nlimits: {memory: 99999999999999999999999999G}\n", "not a size"),
        ("version: 1\nlimits: {memory: 999999999999999T}\n", "too much"),
        ("version: 1\nlimits: {cpus: 0}\n", "not a number of processors"),
        ("version: 1\nlimits: {cpus: .inf}\n", "not a number of processors"),
        ("version: 1\nlimits: {cpus: .nan}\n", "not a number of processors"),
        ("version: 1\nlimits: {pids: 0}\n", "not a whole number"),
        ("version: 1\nlimits: {pids: 1.5}\n", "not a whole number"),
        ("version: 1\nlimits: {pids: 010}\n", "not a whole number"),
        ("version: 1\nlimits: {egress_rate: 50}\n", "not a rate"),
        ("version: 1\nlimits: {egress_rate: 50mbps}\n", "not a rate"),
        ("version: 1\nlimits: {nproc: 5}\n", "no key 'nproc'"),
        ("version: 1\nimage: {allow: []}\n", "would allow every image"),
        ("version: 1\nimage: {allow: ['ghcr.io/a:1']}\n", "without tag or digest"),
        ("version: 1\nimage: {allow: ['a b']}\n", "not an image name"),
        ("version: 1\nimage: {require_digest: maybe}\n", "must be true or false"),
    ],
)
def test_what_is_wrong_is_refused(text: str, word: str) -> None:
    found = problems(text)
    assert found
    assert any(word in message for _, message, _ in found), found
    assert all(where.startswith("p.yaml:") for where, _, _ in found)


@pytest.mark.parametrize(
    ("entry", "word", "hint"),
    [
        ("host: 192.0.2.1", "an address, not a name", "cidr: 192.0.2.1/32"),
        ('host: "2001:db8::1"', "an address, not a name", "cidr: 2001:db8::1/128"),
        ('host: "[2001:db8::1]"', "an address, not a name", "cidr: 2001:db8::1/128"),
        ("host: 192.0.2.0/24", "an address, not a name", "cidr: 192.0.2.0/24"),
        ("host: 127.1", "ends in a number", "cidr"),
        ("host: 0x7f.0.0.0x1", "ends in a number", "cidr"),
        ("host: a.example.123", "ends in a number", "cidr"),
        ("host: https://api.example.com/v1", "is a URL", "host: api.example.com"),
        ("host: https://me@api.example.com/v1", "is a URL", "host: api.example.com"),
        ("host: api.example.com:8443", "with a port", "ports: [8443]"),
        ("host: api.example.com/v1", "has a path", "host: api.example.com"),
        ("host: localhost", "the container itself", "host.containers.internal"),
        ("host: db.localhost", "the container itself", "host.containers.internal"),
        ("host: nas", "single label", "full name"),
        ('host: "*"', "'*' as host", "internet: true"),
        ('host: "*.com"', "public suffix", "*.example.com"),
        ('host: "*.co.uk"', "public suffix", "*.example.co.uk"),
        ('host: "*.*.example.com"', "only in front", "*.example.com"),
        ('host: "api.*.example.com"', "only in front", "*.example.com"),
        ('host: "api*.example.com"', "only in front", "*.example.com"),
        ("host: a..example.com", "empty label", ""),
        ('host: ".example.com"', "empty label", ""),
        ("host: -a.example.com", "not a host name", ""),
        ("host: 'a b.example.com'", "not a host name", ""),
        ("host: 'a.example.com\\n'", "not a host name", ""),
        ('host: "a.example.com\\n"', "not a host name", ""),
        ('host: "a.example.com\\0"', "not a host name", ""),
        (f"host: {'a' * 64}.example.com", "more than 63", ""),
        (f"host: {'a.' * 127}example.com", "more than 253", ""),
        (f"host: {'é' * 5000}.example.com", "more than 253", ""),
        ("host: straße.example", "different names", "xn--"),
        ("host: 1.0.0.127.in-addr.arpa", "reverse name", "cidr"),
        ("host: [a.example, b.example]", "single word", ""),
        ("host: {a: b}", "single word", ""),
        ("host:", "no value", ""),
        ("cidr: 203.0.113.7/24", "bits set", "203.0.113.0/24"),
        ("cidr: 2001:db8::1/64", "bits set", "2001:db8::/64"),
        ("cidr: 203.0.113.0/255.255.255.0", "not a network", "prefix"),
        ("cidr: 203.0.113.0/33", "not a network", ""),
        ("cidr: 203.0.113/24", "not a network", ""),
        ("cidr: 203.0.113.010", "not a network", ""),
        ("cidr: example.com", "not a network", "host:"),
        ("cidr: fe80::1%eth0", "not a network", ""),
        ("cidr: 0.0.0.0/0", "every address", "internet: true"),
        ("cidr: ::/0\n    private: true", "every address", "internet: true"),
        ("cidr: 10.0.0.0/8", "private or special", "private: true"),
        ("cidr: 8.0.0.0/5", "private or special", "private: true"),
        ("cidr: 169.254.169.254", "private or special", "private: true"),
        ("cidr: ::ffff:203.0.113.5", "private or special", "private: true"),
        ("peers: true", "peers needs ports", "5432"),
        ("peers: false\n    ports: [1]", "opens nothing", "remove"),
        ("internet: no", "opens nothing", "remove"),
        ("internet: true\n    private: true", "no meaning", "remove"),
        ("ports: [443]", "exactly one of", ""),
        ("host: a.example\n    cidr: 203.0.113.0/24", "exactly one of", ""),
        ("host: a.example\n    private: perhaps", "must be true or false", ""),
        ("host: a.example\n    port: 443", "no key 'port'", "'ports'"),
    ],
)
def test_an_egress_entry_that_is_wrong_is_refused(entry: str, word: str, hint: str) -> None:
    found = problems(egress(entry))
    assert any(word in message and hint in remedy for _, message, remedy in found), found


@pytest.mark.parametrize(
    ("port", "hint"),
    [
        ("22:22", "only one side"),
        ("0", "1 to 65535"),
        ("65536", "1 to 65535"),
        ("99999999999999999999", "1 to 65535"),
        ("0443", "in decimal"),
        ("0x1bb", "443"),
        ("443.0", "443"),
        ("4_43", "443"),
        ("1e3", "443"),
        ("-1", "443"),
        ("443-80", "write 80-443/tcp"),
        ("443/sctp", "tcp, udp"),
        ("443/tpc", "'tcp'"),
        ("tcp/443", "443/tcp"),
        ("https", "443"),
        ("any", "1-65535/tcp"),
        ('"٤٤٣"', "443"),
    ],
)
def test_a_port_that_is_none_is_refused(port: str, hint: str) -> None:
    found = problems(egress(f"host: a.example\n    ports: [{port}]"))
    assert len(found) == 1
    assert found[0][0] == "p.yaml:4:13" and hint in found[0][2]


def test_ports_without_entries_are_refused() -> None:
    assert "allows nothing" in problems(egress("host: a.example\n    ports: []"))[0][1]


@pytest.mark.parametrize(
    ("text", "name", "wildcard"),
    [
        ("API.Example.COM", "api.example.com", False),
        ("api.example.com.", "api.example.com", False),
        ('"*.Example.com."', "example.com", True),
        ("bücher.example", "xn--bcher-kva.example", False),
        ("BÜCHER。example", "xn--bcher-kva.example", False),
        ("_dmarc.example.com", "_dmarc.example.com", False),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", False),
    ],
)
def test_a_host_is_kept_in_the_spelling_that_dns_compares(text: str, name: str, wildcard: bool) -> None:
    rules = parse(egress(f"host: {text}")).egress
    assert rules is not None and isinstance(rules[0], HostRule)
    assert (rules[0].name, rules[0].wildcard) == (name, wildcard)


def test_a_single_label_stands_with_private() -> None:
    text = egress("host: nas\n    private: true")
    rules = parse(text).egress
    assert rules is not None and isinstance(rules[0], HostRule) and rules[0].name == "nas"
    assert "with no search list" in notes(text)


def test_a_network_in_special_ranges_stands_with_private() -> None:
    rules = parse(egress("cidr: 10.1.0.0/16\n    private: yes")).egress
    assert rules is not None and isinstance(rules[0], CidrRule) and rules[0].private
    rules = parse(egress("cidr: 2001:DB8:0::/48")).egress
    assert rules is not None and isinstance(rules[0], CidrRule) and str(rules[0].network) == "2001:db8::/48"


def test_one_word_stands_for_a_list_of_one() -> None:
    layer = parse("version: 1\npresets: github\negress: [{host: a.example, ports: 22}]\n")
    assert [name.name for name in layer.presets] == ["github"]
    assert layer.egress is not None and layer.egress[0].ports == (Ports("tcp", 22, 22),)


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ("host: cloudflare-dns.com", "DNS over HTTPS"),
        ("host: dns.google", "DNS over HTTPS"),
        ("host: metadata.google.internal", "credentials"),
        ("host: host.containers.internal", "private: true"),
        ('host: "*.github.io"', "anybody can get a name"),
        ("host: a.example\n    ports: [53/udp]", "port 53"),
        ("host: a.example\n    ports: [853]", "port 853"),
        ("host: bücher.example", "xn--bcher-kva.example"),
    ],
)
def test_what_may_surprise_is_noted(entry: str, word: str) -> None:
    assert word in notes(egress(entry))


def test_limits_take_the_units_of_podman_and_tc() -> None:
    text = "version: 1\nlimits: {memory: 512MiB, egress_quota: 64k, egress_rate: 800kbit, cpus: 0.5, pids: none}\n"
    values = {setting.key: setting.value for setting in parse(text).settings}
    assert values == {
        "limits.memory": 512 << 20,
        "limits.egress_quota": 65536,
        "limits.egress_rate": 800_000,
        "limits.cpus": 0.5,
        "limits.pids": None,
    }


def test_a_preset_is_only_a_list_of_hosts() -> None:
    reading = read_layer(b"version: 1\ningress: published\n", "p.yaml", PRESET)
    assert [problem.message for problem in reading.problems] == ["a preset has no key 'ingress'"]


def test_what_is_not_utf8_is_told_by_its_place() -> None:
    assert problems(b"version: 1\n# caf\xe9\n") == [("p.yaml:2:6", "not UTF-8", "save the file as UTF-8")]
    assert problems("version: 1\n# a\u202eb\n")[0][:2] == (
        "p.yaml:2:4",
        "the character U+202E may not stand in a policy",
    )
    assert parse_layer(b"\xef\xbb\xbfversion: 1\n", "p.yaml").egress is None
    assert problems("version: 1\n".encode("utf-16"))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "version: 1\negress: " + "[" * 5000 + "]" * 5000,
        "version: 1\negress:\n" + "  - host: a.example\n" * 20_000,
        "x" * 300_000,
        "a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\n",
        "? " * 3000 + "x",
        "{a: " * 3000,
        "'" + "é" * 100_000,
    ],
)
def test_what_is_made_to_explode_is_refused(text: str) -> None:
    assert 1 <= len(problems(text)) <= 100


def test_messages_carry_no_control_characters() -> None:
    found = problems('version: 1\n"\\e[31mx\\u0007": 1\negress:\n  - host: "\\e[2J"\n')
    assert all(part.isprintable() for problem in found for part in problem)
