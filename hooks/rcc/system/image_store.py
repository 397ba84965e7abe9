"""What an image itself brings: the labels of its configuration, the annotations of its manifest.

containers/storage keeps both as files (images.go, store.go makeBigDataBaseName; seen with Podman 4.3.1 and 5.4.2):
``<graphroot>/<driver>-images/<imageid>/manifest``, and beside it the configuration that the manifest names by digest,
under ``=`` and the base64 of ``sha256:...``.  Read-only stores beside the graph root are named in storage.conf
(containers-storage.conf(5), ``additionalimagestores``).
"""

import binascii
import os
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from rcc.core.oci import is_id
from rcc.system.fast_json import loads

SIZE_LIMIT = 16 << 20  # bytes; registries refuse manifests over 4 MB
SYSTEM_CONFIGS = ("etc/containers/storage.conf", "usr/share/containers/storage.conf")
USER_CONFIG = ".config/containers/storage.conf"


class ImageInfo(NamedTuple):
    """Labels (``config.Labels``) and manifest annotations of one image."""

    labels: Dict[str, str]
    annotations: Dict[str, str]


def read_image(image: str, roots: Tuple[str, ...]) -> Optional[ImageInfo]:
    """The image with this id, looked for under each graph root or image store of ``roots``.

    None when no store has it, or has it in a form that this reader does not know: nobody can then say what the image
    brought and what the user did.
    """
    if not is_id(image):
        return None
    for root in roots:
        for folder in _image_folders(root):
            info = _read(os.path.join(root, folder, image))
            if info is not None:
                return info
    return None


def additional_stores(prefix: str = "/", home: Optional[str] = None) -> Tuple[str, ...]:
    """The read-only image stores that the first storage.conf there is names: the user's, the system's, the vendor's."""
    paths = [os.path.join(home, USER_CONFIG)] if home else []
    paths += [os.path.join(prefix, name) for name in SYSTEM_CONFIGS]
    for path in paths:
        text = _bytes(path)
        if text is not None:
            return parse_additional_stores(text.decode("utf-8", "replace"))
    return ()


def parse_additional_stores(text: str) -> Tuple[str, ...]:
    """The absolute paths of ``additionalimagestores = [...]`` in the text of a storage.conf (TOML), over several lines
    too.

    Python 3.9 and 3.10 have no TOML reader.  A path that is missed here makes the image's labels unknown, no more.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for index, line in enumerate(lines):
        key, equals, rest = line.partition("=")
        if equals and key.strip() == "additionalimagestores":
            value = " ".join([rest, *lines[index + 1 :]]).partition("]")[0].replace("'", '"')
            return tuple(part for part in value.split('"')[1::2] if part.startswith("/"))
    return ()


def _image_folders(root: str) -> List[str]:
    try:
        return sorted(name for name in os.listdir(root) if name.endswith("-images"))
    except OSError:
        return []


def _read(folder: str) -> Optional[ImageInfo]:
    manifest = _object(_bytes(os.path.join(folder, "manifest")))
    digest = _child(manifest, "config").get("digest")
    if not isinstance(digest, str):
        return None  # an index, or Docker's schema 1: the configuration is not a file of its own
    name = "=" + binascii.b2a_base64(digest.encode("utf-8", "replace"), newline=False).decode("ascii")
    data = _bytes(os.path.join(folder, name))
    config = _object(data)
    if not config:
        return None
    labels, annotations = _texts(_child(config, "config"), "Labels"), _texts(manifest, "annotations")
    return None if labels is None or annotations is None else ImageInfo(labels, annotations)


def _bytes(path: str) -> Optional[bytes]:
    try:
        with open(path, "rb") as stream:
            data = stream.read(SIZE_LIMIT + 1)
    except OSError:
        return None
    return data if len(data) <= SIZE_LIMIT else None


def _object(data: Optional[bytes]) -> Dict[str, Any]:
    if data is None:
        return {}
    try:
        value = loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _child(parent: Dict[str, Any], key: str) -> Dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _texts(parent: Dict[str, Any], key: str) -> Optional[Dict[str, str]]:
    value = parent.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        return None
    return value
