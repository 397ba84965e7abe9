"""Whatever else is said, an image only tightens."""

import itertools
from typing import Optional

from hypothesis import given
from hypothesis import strategies as st
from rcc.core.errors import Refused
from rcc.core.request import OFF, ON, Asked, Request, decide

values = st.sampled_from([*ON, *OFF, "default", "internet", "offline", "Not/AName"])
maybe = st.none() | values
owners = st.none() | st.builds(
    Request, st.sampled_from(["", "default", "internet"]), st.just("label"), tighten_only=st.booleans()
)
commands = st.lists(
    st.sampled_from(["podman", "run", "-l", "--label", "--annotation", "rcc=off", "rcc=1", "rcc=internet", "alpine"]),
    max_size=6,
)


def outcome(asked: Asked, **settings: bool) -> Optional[Request]:
    """None: refused, so nothing runs at all."""
    try:
        return decide(asked, always=settings["always"], locked=settings["locked"])
    except Refused:
        return None


@given(maybe, maybe, maybe, owners, maybe, maybe, st.booleans(), commands, st.booleans(), st.booleans())
def test_an_image_only_tightens(
    label: Optional[str],
    annotation: Optional[str],
    pod: Optional[str],
    owner: Optional[Request],
    image_label: Optional[str],
    image_annotation: Optional[str],
    known: bool,
    command: "list[str]",
    always: bool,
    locked: bool,
) -> None:
    """A container with the image's values where the user has set none is no wider than without the image."""
    settings = {"always": always, "locked": locked}
    # Podman's own fill: the user's value, else the image's.
    user = Asked(label, annotation, pod, None, None, True, tuple(command), "alpine", owner, "web")
    container = user._replace(
        label=image_label if label is None else label,
        annotation=image_annotation if annotation is None else annotation,
        image_label=image_label if known else None,
        image_annotation=image_annotation if known else None,
        image_known=known,
        # What the command says is what the user has set, or there is no command.
        command=_command(label, annotation),
    )
    without, with_image = outcome(user._replace(command=()), **settings), outcome(container, **settings)
    if with_image is None:
        return
    if without is None:
        raise AssertionError("the image made a refused container start")
    if without.profile:
        assert with_image.profile == without.profile, "the image changed or lifted somebody else's word"
    elif with_image.profile:
        assert with_image.tighten_only or with_image.profile == without.profile


def _command(label: Optional[str], annotation: Optional[str]) -> "tuple[str, ...]":
    words = [("--label", f"rcc={label}")] if label is not None else []
    words += [("--annotation", f"rcc={annotation}")] if annotation is not None else []
    return ("podman", "run", *itertools.chain(*words), "alpine")


@given(maybe, maybe, maybe, owners, maybe, maybe, st.booleans(), commands)
def test_the_lock_always_isolates(
    label: Optional[str],
    annotation: Optional[str],
    pod: Optional[str],
    owner: Optional[Request],
    image_label: Optional[str],
    image_annotation: Optional[str],
    known: bool,
    command: "list[str]",
) -> None:
    asked = Asked(label, annotation, pod, image_label, image_annotation, known, tuple(command), "alpine", owner, "web")
    request = outcome(asked, always=False, locked=True)
    assert request is None or request.profile


@given(maybe, maybe, maybe, owners, maybe, maybe, st.booleans(), commands, st.booleans())
def test_the_images_word_is_always_marked(
    label: Optional[str],
    annotation: Optional[str],
    pod: Optional[str],
    owner: Optional[Request],
    image_label: Optional[str],
    image_annotation: Optional[str],
    known: bool,
    command: "list[str]",
    always: bool,
) -> None:
    asked = Asked(label, annotation, pod, image_label, image_annotation, known, tuple(command), "alpine", owner, "web")
    request = outcome(asked, always=always, locked=False)
    if request is not None and request.source.startswith("image's"):
        assert request.profile and request.tighten_only and not request.image_profile
