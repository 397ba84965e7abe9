"""What a selected container asks for: the images' part told from the users', then ``core/request.decide``."""

from typing import Any, Optional, Tuple

from rcc.app.select import KEY, Selection
from rcc.core.request import Asked, Request, decide
from rcc.system.image_store import ImageInfo, additional_stores, read_image
from rcc.system.podman_db import Stored

SHORT_ID = 12


def request_of(
    selection: Selection, *, default_profile: str = "default", always: bool = False, locked: bool = False
) -> Request:
    """What is asked for ``selection``; a request with an empty profile leaves it alone.

    The keywords are the settings in force (``core/settings.py``).  Raises Refused for a value that can be no profile's
    name, StoreError for labels that are no text.
    """
    owner, owner_name = _owner_request(selection, default_profile)
    asked = _asked(selection.found.container, selection.annotation, selection.roots, owner, owner_name)
    return decide(asked, default_profile=default_profile, always=always, locked=locked)


def joins_labelled(selection: Selection) -> bool:
    """Whether the network namespace belongs to a container that asks for isolation."""
    owner, _ = _owner_request(selection, "default")
    return owner is not None and bool(owner.profile)


def joins_unlabelled(selection: Selection) -> bool:
    """Whether the network namespace belongs to a container that does not ask for isolation itself."""
    owner, _ = _owner_request(selection, "default")
    return owner is not None and not owner.profile


def _owner_request(selection: Selection, default_profile: str) -> Tuple[Optional[Request], str]:
    """What is decided for the container whose network is joined, and its name; None where there is none."""
    owner: Optional[Request] = None
    owner_name = ""
    for stored in reversed(selection.found.owners):
        asked = _asked(stored, stored.annotations.get(KEY), selection.roots, owner, owner_name)
        owner = decide(asked, default_profile=default_profile)
        owner_name = str(stored.config.get("name") or stored.id[:SHORT_ID])
    return owner, owner_name


def _asked(
    stored: Stored, annotation: Optional[str], roots: Tuple[str, ...], owner: Optional[Request], owner_name: str
) -> Asked:
    label = stored.labels.get(KEY)
    info, known = None, True
    if label is not None or annotation is not None:
        info, known = _image(stored.config, roots)
    return Asked(
        label=label,
        annotation=annotation,
        pod_label=stored.pod_labels.get(KEY),
        image_label=info.labels.get(KEY) if info else None,
        image_annotation=info.annotations.get(KEY) if info else None,
        image_known=known,
        command=tuple(str(word) for word in stored.config.get("CreateCommand") or ()),
        image_name=str(stored.config.get("RawImageName") or stored.config.get("rootfsImageName") or ""),
        owner=owner,
        owner_name=owner_name,
    )


def _image(config: "dict[str, Any]", roots: Tuple[str, ...]) -> Tuple[Optional[ImageInfo], bool]:
    """The container's image and whether all is known of it: a root file system of the user's own brings nothing."""
    image = str(config.get("rootfsImageID") or "")
    if not image:
        return None, bool(config.get("rootfs"))
    from rcc.system.owner import home_of, owner_uid

    info = read_image(image, roots)
    if info is None:
        info = read_image(image, additional_stores(home=home_of(owner_uid())))
    return info, info is not None
