"""Who asks for isolation, and whether he may: a pure decision over what was read of a container.

The key is ``rcc``, as a label or an annotation.  The words (in any case of letters): ``1 true on yes`` and an empty
value (`--label rcc`) ask for the default profile, ``0 false off no`` ask for none, any other value is the name of a
profile.

The first of these that says anything decides:

    | who                                     | on, or a profile      | off                                  |
    |-----------------------------------------|-----------------------|--------------------------------------|
    | 1 the user's label                      | isolated              | not isolated                         |
    | 2 the user's annotation, or the default | isolated              | not isolated                         |
    |   annotation of containers.conf         |                       |                                      |
    | 3 the label of the pod                  | isolated              | not isolated                         |
    | 4 the container whose network is joined | as that one           | says nothing, so the next one decides|
    | 5 the settings (``isolate: always``)    | the default profile   |                                      |
    | 6 the image's label, then annotation    | isolated, tighten_only| ignored, with a note                 |
    | 7 nobody                                | not isolated          |                                      |

Then, over all of them:

    - the admin's lock turns "not isolated" into the default profile, with a note;
    - a profile that the image names beside somebody else's word is handed on as ``image_profile``: the caller takes it
      when its policy is no wider, and leaves it otherwise.  An image that only says "on" or "off" adds nothing then.
    - a name that can be no profile's is Refused from anybody but an image that nobody needs to listen to.

Podman copies an image's labels, to 4.5.0 its annotations too, into the container where the user has set none, and
forgets where they came from (pkg/specgen/generate/container.go CompleteSpec).  So a value is the user's when it differs
from the image's; when both are equal, or nobody knows what the image has, it is the user's only when the command that
made the container says so before it names the image.  In doubt it is the image's.
"""

from typing import Iterator, NamedTuple, Optional, Sequence, Tuple

from rcc.core.errors import Refused

KEY = "rcc"
ON = ("1", "true", "on", "yes", "")
OFF = ("0", "false", "off", "no")
NAME_LIMIT = 64  # characters of a profile's name
# Flags of `podman run` and `create` without a value, that may stand before another in one word: -dl rcc=1.
LONE_FLAGS = "diPqt"


class Request(NamedTuple):
    """What is asked: ``profile`` is empty for no isolation.

    source: who asked, in words for a person.  tighten_only: the image asked, and nobody else, so its profile may never
    be taken as a reason to allow more than holds otherwise.  image_profile: what the image names beside somebody else's
    word; it counts only where its policy is no wider than that of ``profile``.
    """

    profile: str
    source: str
    tighten_only: bool = False
    image_profile: str = ""
    notes: Tuple[str, ...] = ()


class Asked(NamedTuple):
    """What was read of one container.  None: there is no such value.

    ``image_known``: whether ``image_label`` and ``image_annotation`` are what the image has (None: it has none, or the
    container has no image); False: nobody could read the image.  ``command`` is the command that made the container, as
    Podman keeps it; ``image_name`` the image's name as it stands in there.  ``owner`` is what was decided for the
    container whose network this one joins, ``owner_name`` its name or id.
    """

    label: Optional[str] = None
    annotation: Optional[str] = None
    pod_label: Optional[str] = None
    image_label: Optional[str] = None
    image_annotation: Optional[str] = None
    image_known: bool = False
    command: Tuple[str, ...] = ()
    image_name: str = ""
    owner: Optional[Request] = None
    owner_name: str = ""


def decide(asked: Asked, *, default_profile: str = "default", always: bool = False, locked: bool = False) -> Request:
    """Who asks for what: see the table above.  ``always`` and ``locked`` are the settings' isolate: always and lock.

    Raises Refused for a value that can be no profile's name.
    """
    notes = []
    image = _image_wish(asked)
    request = _strongest(asked, default_profile, always)
    if request is None and image is not None:
        source, value = image
        profile = profile_of(value, default_profile, source)
        if profile:
            request = Request(profile, source, tighten_only=True)
        else:
            notes.append(f"the {source} {KEY}={value} is ignored: an image can only tighten")
    elif request is not None and request.profile and image is not None:
        request, note = _beside(request, *image)
        notes += [note] if note else []
    if request is None:
        request = Request("", "nobody")
    if locked and not request.profile:
        if request.source != "nobody":
            notes.append(f"the {request.source} cannot take isolation off: the admin has locked it")
        request = Request(default_profile, "the admin's lock", image_profile=_named(image))
    return request._replace(notes=(*request.notes, *notes))


def profile_of(value: str, default_profile: str, source: str) -> str:
    """The profile that a value asks for, empty for none.  Raises Refused when it can be no profile's name."""
    word = value.strip().lower()
    if word in ON:
        return default_profile
    if word in OFF:
        return ""
    if not is_profile_name(value):
        raise Refused(
            f"the {source} {KEY}={value[:NAME_LIMIT]} names no profile",
            hint="a profile's name has lower-case letters, digits, '.', '_' and '-'; rcc=1 is the default profile",
        )
    return value


def is_profile_name(text: str) -> bool:
    """[a-z0-9][a-z0-9._-]*, no longer than NAME_LIMIT."""
    plain = "abcdefghijklmnopqrstuvwxyz0123456789"
    return 0 < len(text) <= NAME_LIMIT and text[0] in plain and all(letter in plain + "._-" for letter in text)


def _strongest(asked: Asked, default_profile: str, always: bool) -> Optional[Request]:
    """Rows 1 to 5: everybody but the image."""
    said = (
        ("label", asked.label if _label_is_users(asked) else None),
        ("annotation", asked.annotation if _annotation_is_users(asked) else None),
        ("label of the pod", asked.pod_label),
    )
    for source, value in said:
        if value is not None:
            return Request(profile_of(value, default_profile, source), source)
    if asked.owner is not None and asked.owner.profile:
        source = f"container {asked.owner_name}, whose network this one joins ({asked.owner.source})"
        return asked.owner._replace(source=source, notes=())
    return Request(default_profile, "settings (isolate: always)") if always else None


def _image_wish(asked: Asked) -> Optional[Tuple[str, str]]:
    """What the image says in this container, with its source; what the user has overridden is not there any more."""
    if asked.label is not None and not _label_is_users(asked):
        return "image's label", asked.label
    if asked.annotation is not None and not _annotation_is_users(asked):
        return "image's annotation", asked.annotation
    return None


def _beside(request: Request, source: str, value: str) -> Tuple[Request, str]:
    """Row 6 where another row has decided: the request with what the image adds to it, and a note."""
    word = value.strip().lower()
    if word in ON:
        return request, ""
    if word in OFF or not is_profile_name(value):
        return request, f"the {source} {KEY}={value[:NAME_LIMIT]} is ignored: an image can only tighten"
    return request._replace(image_profile="" if value == request.profile else value), ""


def _named(image: Optional[Tuple[str, str]]) -> str:
    """The profile that the image names, empty when it names none."""
    if image is None or image[1].strip().lower() in ON + OFF or not is_profile_name(image[1]):
        return ""
    return image[1]


def _label_is_users(asked: Asked) -> bool:
    if asked.label is None:
        return False
    if asked.image_known and asked.image_label != asked.label:
        return True
    return _said(asked, ("--label",), "l") == asked.label


def _annotation_is_users(asked: Asked) -> bool:
    if asked.annotation is None:
        return False
    if asked.image_known and asked.image_annotation != asked.annotation:
        return True
    return _said(asked, ("--annotation",), "") == asked.annotation


def _said(asked: Asked, names: Sequence[str], letter: str) -> Optional[str]:
    """The value that the command gives KEY by one of these options, the last one as Podman does; None for none.

    Only what stands before the first word that is the image's name: what follows it is the container's own command,
    which an image's ENTRYPOINT or a script may have made up.
    """
    if not asked.image_name or asked.image_name not in asked.command:
        return None
    words = asked.command[: asked.command.index(asked.image_name)]
    found = None
    for text in _values(words, names, letter):
        key, _, value = text.partition("=")
        if key == KEY:
            found = value
    return found


def _values(words: Sequence[str], names: Sequence[str], letter: str) -> Iterator[str]:
    """The values of an option as pflag, Podman's parser, reads them: --label X, --label=X, -l X, -lX, -l=X, -dl X."""
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        if word in names:
            yield following
        elif word.startswith("--"):
            name, equals, value = word.partition("=")
            if equals and name in names:
                yield value
        elif letter and word.startswith("-") and word[1:].lstrip(LONE_FLAGS).startswith(letter):
            rest = word[1:].lstrip(LONE_FLAGS)[1:]
            yield rest[1:] if rest.startswith("=") else rest or following
