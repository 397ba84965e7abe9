"""Every row of the table of core/request.py, and who counts as the one who said it."""

from typing import Any, Tuple

import pytest
from rcc.core.errors import Refused
from rcc.core.request import Asked, Request, decide, is_profile_name, profile_of

USERS = {"image_known": True}  # the image is known and has nothing
RUN = ("podman", "run", "--rm")


def said(*words: str) -> "dict[str, Any]":
    """The image has the same value; the command tells."""
    return {"command": (*RUN, *words, "alpine", "true"), "image_name": "alpine"}


# 1: the user's label


@pytest.mark.parametrize("value", ["1", "true", "on", "yes", "", "True", "ON", " 1 "])
def test_words_that_ask(value: str) -> None:
    assert decide(Asked(label=value, **USERS)) == Request("default", "label")
    assert decide(Asked(label=value, **USERS), default_profile="other").profile == "other"


@pytest.mark.parametrize("value", ["0", "false", "off", "no", "Off", "NO"])
def test_words_that_do_not(value: str) -> None:
    assert decide(Asked(label=value, **USERS)) == Request("", "label")


def test_a_profile() -> None:
    assert decide(Asked(label="internet", **USERS)) == Request("internet", "label")


@pytest.mark.parametrize("value", ["Not/AName", "../x", "-x", ".x", "a b", "Default", "é", "x" * 65, "a\n"])
def test_values_that_name_no_profile(value: str) -> None:
    with pytest.raises(Refused) as caught:
        decide(Asked(label=value, **USERS))
    assert value[:64] in caught.value.message and caught.value.hint
    assert not is_profile_name(value)


@pytest.mark.parametrize("value", ["a", "0x", "a.b_c-d", "9", "x" * 64])
def test_names_of_profiles(value: str) -> None:
    assert is_profile_name(value) and profile_of(value, "default", "label") == value


def test_the_users_label_decides_over_all_others() -> None:
    others = Asked(annotation="a", pod_label="p", owner=Request("o", "label"), image_known=True)
    assert decide(others._replace(label="l"), always=True).profile == "l"
    assert decide(others._replace(label="off"), always=True) == Request("", "label")


# 2: the user's annotation


def test_the_annotation_decides_over_pod_owner_and_settings() -> None:
    asked = Asked(annotation="a", pod_label="p", owner=Request("o", "label"), image_known=True)
    assert decide(asked, always=True) == Request("a", "annotation")
    assert decide(asked._replace(annotation="off"), always=True) == Request("", "annotation")


# 3: the pod


def test_the_pod_decides_over_owner_and_settings() -> None:
    asked = Asked(pod_label="p", owner=Request("o", "label"), image_known=True)
    assert decide(asked, always=True) == Request("p", "label of the pod")
    assert decide(asked._replace(pod_label="off"), always=True).profile == ""


# 4: the owner of a joined network


def test_a_joined_network_is_inherited() -> None:
    request = decide(Asked(owner=Request("o", "label", notes=("n",)), owner_name="web", image_known=True), always=True)
    assert request.profile == "o" and "web" in request.source and "label" in request.source and not request.notes
    assert not request.tighten_only


def test_what_the_owners_image_asked_stays_the_images_word() -> None:
    assert decide(Asked(owner=Request("o", "image's label", tighten_only=True), image_known=True)).tighten_only


def test_an_owner_without_isolation_says_nothing() -> None:
    asked = Asked(owner=Request("", "label"), image_known=True)
    assert decide(asked) == Request("", "nobody")
    assert decide(asked, always=True).profile == "default"


# 5: the settings


def test_settings() -> None:
    assert decide(Asked(**USERS), always=True) == Request("default", "settings (isolate: always)")
    assert decide(Asked(**USERS), always=True, default_profile="d").profile == "d"


# 6: the image


@pytest.mark.parametrize(("value", "profile"), [("1", "default"), ("offline", "offline")])
def test_an_image_may_ask(value: str, profile: str) -> None:
    for asked in (
        Asked(label=value, image_label=value, image_known=True),
        Asked(annotation=value, image_annotation=value, image_known=True),
        Asked(label=value),
        Asked(annotation=value),
    ):
        request = decide(asked)
        assert request.profile == profile and request.tighten_only and request.source.startswith("image's ")


def test_an_image_may_not_lift() -> None:
    off = {"label": "off", "image_label": "off", "image_known": True}
    alone = decide(Asked(**off))
    assert alone.profile == "" and "ignored" in alone.notes[0] and not alone.tighten_only
    for others, keywords, profile in (
        ({"annotation": "1"}, {}, "default"),
        ({"pod_label": "p"}, {}, "p"),
        ({"owner": Request("o", "label")}, {}, "o"),
        ({}, {"always": True}, "default"),
    ):
        request = decide(Asked(**off, **others), **keywords)
        assert request.profile == profile and "ignored" in request.notes[0] and request.image_profile == ""


def test_an_images_profile_beside_another_word_is_handed_on() -> None:
    image = {"label": "public", "image_label": "public", "image_known": True}
    for others in ({"annotation": "1"}, {"pod_label": "1"}, {"owner": Request("default", "label")}):
        request = decide(Asked(**image, **others))
        assert request.profile == "default" and request.image_profile == "public" and not request.tighten_only
    assert decide(Asked(**image, annotation="public")).image_profile == ""
    assert decide(Asked(**image, annotation="off")) == Request("", "annotation")


def test_an_image_that_only_says_on_adds_nothing() -> None:
    asked = Asked(label="1", image_label="1", image_known=True, annotation="internet")
    assert decide(asked) == Request("internet", "annotation")


def test_nonsense_from_an_image() -> None:
    nonsense = {"label": "Not/AName", "image_label": "Not/AName", "image_known": True}
    with pytest.raises(Refused):
        decide(Asked(**nonsense))
    request = decide(Asked(**nonsense, annotation="1"))
    assert request.profile == "default" and request.notes and request.image_profile == ""


def test_the_user_overrides_the_image() -> None:
    assert decide(Asked(label="off", image_label="1", image_known=True)) == Request("", "label")
    assert decide(Asked(label="internet", image_label="offline", image_known=True)) == Request("internet", "label")


# 7: nobody


def test_nobody() -> None:
    assert decide(Asked()) == Request("", "nobody")


# The lock


def test_the_lock() -> None:
    locked = decide(Asked(label="off", **USERS), locked=True)
    assert locked.profile == "default" and locked.source == "the admin's lock" and "label" in locked.notes[0]
    assert decide(Asked(), locked=True, default_profile="d") == Request("d", "the admin's lock")
    assert decide(Asked(label="internet", **USERS), locked=True) == Request("internet", "label")
    image = decide(Asked(annotation="off", label="public", image_label="public", image_known=True), locked=True)
    assert image.profile == "default" and image.image_profile == "public" and not image.tighten_only


# Whose word is it?


@pytest.mark.parametrize(
    "words",
    [
        ("--label", "rcc=off"),
        ("--label=rcc=off",),
        ("-l", "rcc=off"),
        ("-lrcc=off",),
        ("-l=rcc=off",),
        ("-dl", "rcc=off"),
        ("-itl=rcc=off",),
        ("--label", "rcc=1", "--label", "rcc=off"),
        ("--label", "rcc=off", "--name", "x"),
    ],
)
def test_the_command_tells_that_it_was_the_user(words: Tuple[str, ...]) -> None:
    for known in ({"image_label": "off", "image_known": True}, {}):
        assert decide(Asked(label="off", **known, **said(*words))) == Request("", "label")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--label", "rcc=1"),
        ("--label", "rccx=off"),
        ("--label", "xrcc=off"),
        ("--label", "rcc=off", "--label", "rcc=1"),
        ("--annotation", "rcc=off"),
        ("--env", "rcc=off"),
        ("--label-file=rcc=off",),
        ("--labels=rcc=off",),
        ("--label",),
        ("-e", "rcc=off"),
        ("-mlrcc=off",),
        ("-vlrcc=off",),
        ("-hlrcc=off",),
        ("-dvl", "rcc=off"),
    ],
)
def test_or_that_it_was_not(words: Tuple[str, ...]) -> None:
    request = decide(Asked(label="off", image_label="off", image_known=True, **said(*words)))
    assert request.profile == "" and request.source == "nobody" and request.notes


def test_words_after_the_image_are_the_containers_own() -> None:
    command = ("podman", "run", "alpine", "sh", "--label", "rcc=off")
    for name in ("alpine", "other", ""):
        asked = Asked(label="off", image_label="off", image_known=True, command=command, image_name=name, pod_label="1")
        assert decide(asked).profile == "default"


def test_the_command_tells_of_annotations_too() -> None:
    same = {"annotation": "off", "image_annotation": "off", "image_known": True, "pod_label": "1"}
    assert decide(Asked(**same, **said("--annotation", "rcc=off"))) == Request("", "annotation")
    assert decide(Asked(**same, **said("--annotation=rcc=off"))) == Request("", "annotation")
    assert decide(Asked(**same, **said("-a", "rcc=off"))).profile == "default"
    assert decide(Asked(**same, **said("--label", "rcc=off"))).profile == "default"


def test_nobody_knows_the_image() -> None:
    """Through the REST API there is no command: what may be the image's counts as the image's."""
    assert decide(Asked(label="off", annotation="1")).profile == ""
    assert decide(Asked(label="off", pod_label="1")).profile == "default"
    request = decide(Asked(label="internet", pod_label="1"))
    assert request == Request("default", "label of the pod", image_profile="internet")
