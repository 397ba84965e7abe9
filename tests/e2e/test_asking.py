"""Every way in which a container can ask: each one is caught, and the image can only tighten."""

import json
from typing import Any, Iterator

import pytest
from arrivals import Target, arrived, send, sender

LABEL = "--label rcc=1"


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    used = next(name for name in ("lab", "rootful", "rootless") if name in request.fixturenames)
    request.getfixturevalue(used).run(
        "podman pod rm -f -t 0 -a; podman rm -f -t 0 -a; podman rmi -f rcc-image 2>/dev/null", timeout=60
    )


def other(lab: Any) -> Target:
    return Target("udp", lab.env["RCC_LAB_OTHER_IP4"], 7000)


def allowed(lab: Any) -> Target:
    return Target("udp", lab.env["RCC_LAB_NAME_IP4"], 7000, lab.env["RCC_LAB_NAME"])


def closed_inside(lab: Any, name: str, *, wanted: bool = False) -> None:
    """A running container sends to the other name's address: it arrives only if ``wanted``; the allowed one always."""
    for target, arrives in ((other(lab), wanted), (allowed(lab), True)):
        token = f"tok{name}{abs(hash((name, str(target), wanted))) % 10**9}"
        code, out, err = lab.run(f"podman exec {name} {sender(token, [target])}", timeout=30)
        assert code == 0, err
        assert bool(arrived(lab, token)) is arrives, (target, out)


def ok(lab: Any, command: str) -> str:
    code, out, err = lab.run(command, timeout=90)
    assert code == 0, (command, out, err)
    return str(out)


@pytest.mark.parametrize("word", ["1", "true", "on", "yes", "default", "narrow"])
def test_words_that_ask(lab: Any, word: str) -> None:
    send(lab, f"--label rcc={word}", [other(lab)], wanted=False)


@pytest.mark.parametrize("word", ["0", "false", "off", "no"])
def test_words_that_do_not(lab: Any, word: str) -> None:
    send(lab, f"--label rcc={word}", [other(lab)], wanted=True)


def test_an_annotation(lab: Any) -> None:
    send(lab, "--annotation rcc=1", [other(lab)], wanted=False)
    send(lab, "--annotation rcc=1 --label rcc=1", [allowed(lab)], wanted=True)


ANNOTATED = "podman --hooks-dir /usr/share/containers/oci/hooks.d run --rm --annotation rcc=1"


def test_the_annotation_hook_alone(lab: Any) -> None:
    """Without precreate, as on engines that have none: oci-hooks.d/rcc.json isolates at prestart."""
    for network in ("", "--network=none"):
        for target, wanted in ((allowed(lab), not network), (other(lab), False)):
            token = f"tokhook{abs(hash((str(target), network))) % 10**9}"
            code, out, err = lab.run(
                f"{ANNOTATED} --cap-drop=NET_RAW {network} $RCC_LAB_IMAGE {sender(token, [target])}", timeout=60
            )
            assert code == 0, err
            assert bool(arrived(lab, token)) is wanted, out


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--cap-add=NET_RAW", "NET_RAW"),
        ("--cap-drop=NET_RAW --network=host", "host's own network"),
        ("--privileged", "NET_ADMIN"),
    ],
)
def test_what_precreate_would_have_hardened_is_refused_there(lab: Any, flags: str, reason: str) -> None:
    code, _, _ = lab.run(f"{ANNOTATED} {flags} $RCC_LAB_IMAGE true", timeout=60)
    assert code != 0
    assert reason in lab.run("rcc why")[1] or "--privileged" in lab.run("rcc why")[1]


def test_other_labels_do_not(lab: Any) -> None:
    send(lab, "--label rcc1=1 --label xrcc=1 --env rcc=1 --annotation rccx=1", [other(lab)], wanted=True)


def test_create_then_start_then_restart(lab: Any) -> None:
    ok(lab, f"podman create --name made {LABEL} $RCC_LAB_IMAGE sleep 300")
    ok(lab, "podman start made")
    closed_inside(lab, "made")
    for _ in range(2):
        ok(lab, "podman restart -t 0 made")
        closed_inside(lab, "made")
    ok(lab, "podman stop -t 0 made && podman start made")
    closed_inside(lab, "made")
    rows = json.loads(ok(lab, "rcc ps --json"))
    assert [row["name"] for row in rows] == ["made"], "one record, none of an earlier run"


def test_the_end_of_a_container_leaves_nothing(lab: Any) -> None:
    ok(lab, f"podman run -d --name gone {LABEL} $RCC_LAB_IMAGE sleep 300")
    assert json.loads(ok(lab, "rcc ps --json"))
    ok(lab, "podman rm -f -t 0 gone")
    assert json.loads(ok(lab, "rcc ps --json")) == []


def test_a_pod_made_with_a_label(lab: Any) -> None:
    ok(lab, f"podman pod create --name group {LABEL}")
    ok(lab, "podman run -d --pod group --name member $RCC_LAB_IMAGE sleep 300")
    closed_inside(lab, "member")


def test_the_same_pod_without_a_label(lab: Any) -> None:
    ok(lab, "podman pod create --name group")
    ok(lab, "podman run -d --pod group --name member $RCC_LAB_IMAGE sleep 300")
    closed_inside(lab, "member", wanted=True)


@pytest.mark.parametrize("place", ["labels", "annotations"])
def test_kube_play(rootless: Any, place: str) -> None:
    """Rootless only: as root Podman 4.3.1 refuses it without cgroups (pod cgroup is not set), which the lab lacks."""
    lab = rootless
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "play", place: {"rcc": "1"}},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "image": lab.env["RCC_LAB_IMAGE"],
                    "command": ["sleep", "300"],
                    "imagePullPolicy": "Never",
                }
            ]
        },
    }
    ok(lab, f"echo '{json.dumps(manifest)}' > play.yaml && podman play kube play.yaml; rm -f play.yaml")
    closed_inside(lab, "play-main")


def test_joining_the_network_of_a_labelled_container(lab: Any) -> None:
    ok(lab, f"podman run -d --name owner {LABEL} $RCC_LAB_IMAGE sleep 300")
    ok(lab, "podman run -d --name joined --network container:owner $RCC_LAB_IMAGE sleep 300")
    closed_inside(lab, "joined")
    ok(lab, "podman rm -f -t 0 joined")
    closed_inside(lab, "owner")


def test_a_labelled_container_joins_an_unlabelled_one(lab: Any) -> None:
    """While it is there the namespace is closed; when it has gone the other one has its network back."""
    ok(lab, "podman run -d --name bare $RCC_LAB_IMAGE sleep 300")
    closed_inside(lab, "bare", wanted=True)
    ok(lab, f"podman run -d --name guest --network container:bare {LABEL} $RCC_LAB_IMAGE sleep 300")
    closed_inside(lab, "guest")
    closed_inside(lab, "bare")
    ok(lab, "podman rm -f -t 0 guest")
    closed_inside(lab, "bare", wanted=True)


def test_no_members_end_strips_the_others(lab: Any) -> None:
    ok(lab, f"podman pod create --name group {LABEL}")
    for name in ("one", "two"):
        ok(lab, f"podman run -d --pod group --name {name} {LABEL} $RCC_LAB_IMAGE sleep 300")
    ok(lab, "podman rm -f -t 0 one")
    closed_inside(lab, "two")


def test_the_strictest_of_two_policies_holds(lab: Any) -> None:
    ok(lab, f"podman run -d --name wide {LABEL} $RCC_LAB_IMAGE sleep 300")
    ok(lab, "podman run -d --name tight --network container:wide --label rcc=closed $RCC_LAB_IMAGE sleep 300")
    token = "tokstrictest"
    for name in ("wide", "tight"):
        lab.run(f"podman exec {name} {sender(token, [allowed(lab)])}", timeout=30)
    assert not arrived(lab, token)


def build(lab: Any, lines: str) -> None:
    ok(lab, f"printf 'FROM %s\\n{lines}\\n' $RCC_LAB_IMAGE | podman build -q --network none -t rcc-image -f - .")


def run_image(lab: Any, flags: str, target: Target, *, wanted: bool) -> None:
    token = f"tokimage{abs(hash((flags, str(target), wanted))) % 10**9}"
    code, out, err = lab.run(f"podman run --rm {flags} rcc-image {sender(token, [target])}", timeout=60)
    assert code == 0, err
    assert bool(arrived(lab, token)) is wanted, (flags, out)


def test_an_image_may_ask(lab: Any) -> None:
    build(lab, "LABEL rcc=1")
    run_image(lab, "", other(lab), wanted=False)


@pytest.mark.parametrize("label", ["off", "public"])
def test_an_image_may_not_loosen(lab: Any, label: str) -> None:
    build(lab, f"LABEL rcc={label}")
    run_image(lab, "--annotation rcc=1", other(lab), wanted=False)
    run_image(lab, "--label rcc=1", other(lab), wanted=False)


def test_the_user_may_switch_off_what_an_image_asks_for(lab: Any) -> None:
    build(lab, "LABEL rcc=1")
    run_image(lab, "--label rcc=off", other(lab), wanted=True)


def test_a_build_is_no_container_of_podmans(rootless: Any) -> None:
    """Rootless only: a build as root wants to raise RLIMIT_MEMLOCK, which not every machine allows."""
    lab = rootless
    ok(
        lab,
        "printf 'FROM %s\\nRUN true\\n' $RCC_LAB_IMAGE | "
        "podman build -q --network none --ulimit nofile=1024:1024 --ulimit nproc=1000:1000 -t rcc-image -f - .",
    )


def test_the_rest_api(lab: Any) -> None:
    """What compose and Docker's clients do: the label in the body of the compatible create call."""
    body = json.dumps({"Image": lab.env["RCC_LAB_IMAGE"], "Cmd": ["sleep", "300"], "Labels": {"rcc": "1"}})
    ok(
        lab,
        "podman system service --time 30 unix://$PWD/api.sock & "
        "for i in 1 2 3 4 5 6 7 8 9 10; do [ -S api.sock ] && break; sleep 0.2; done; "
        "C='curl -sf --unix-socket api.sock -X POST'; "
        f"$C -H 'Content-Type: application/json' -d '{body}' 'http://d/v1.40/containers/create?name=byapi' && "
        "$C http://d/v1.40/containers/byapi/start; code=$?; kill $!; rm -f api.sock; exit $code",
    )
    closed_inside(lab, "byapi")
