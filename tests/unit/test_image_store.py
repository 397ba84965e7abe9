"""What images bring, from a real store; what cannot be read is unknown, never nothing."""

import json
import os
import shutil
from typing import Any

import pytest
from podman_store import lay_out
from rcc.system.image_store import additional_stores, parse_additional_stores, read_image

PLAIN = "72d0399ba89508a80e8b9474710bc39856989fd794622d65fd4cb436d60c0e00"
LABELLED = "f400d3d273e738cf91d85bdab4b2512e47a57302afbdd7144b7922d7bf54738e"
ANNOTATED = "f62cee69b06150842e3bf39dfb48b0da616d4a42d9b532a95b78b2093c39f055"


@pytest.fixture
def graph(tmp_path: Any) -> str:
    return lay_out(str(tmp_path), "4.3.1")


def test_labels(graph: str) -> None:
    info = read_image(LABELLED, ("/nonexistent", graph))
    assert info is not None and info.labels["rcc"] == "1" and info.labels["other"] == "x"
    assert "org.opencontainers.image.base.name" in info.annotations


def test_an_image_without_any(graph: str) -> None:
    assert read_image(PLAIN, (graph,)) == ({}, {})


def test_annotations(tmp_path: Any) -> None:
    info = read_image(ANNOTATED, (lay_out(str(tmp_path), "4.3.1-annotated"),))
    assert info is not None and info.annotations["rcc"] == "public" and info.labels["a"] == "b"


@pytest.mark.parametrize("image", ["", "0" * 64, "../" * 10, PLAIN[:12]])
def test_unknown_images(graph: str, image: str) -> None:
    assert read_image(image, (graph,)) is None


def change(graph: str, name: str, text: str) -> None:
    folder = os.path.join(graph, "overlay-images", LABELLED)
    name = next(file for file in os.listdir(folder) if file.startswith(name))
    with open(os.path.join(folder, name), "w", encoding="utf-8") as stream:
        stream.write(text)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        json.dumps({"schemaVersion": 1, "fsLayers": []}),
        json.dumps({"manifests": []}),
        json.dumps({"config": {"digest": 1}}),
        json.dumps({"config": {"digest": "sha256:" + "0" * 64}}),
        json.dumps({"config": {"digest": "x" * 5000}}),
    ],
)
def test_manifests_that_say_nothing(graph: str, text: str) -> None:
    change(graph, "manifest", text)
    assert read_image(LABELLED, (graph,)) is None


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"config": {"Labels": ["rcc"]}}', '{"config": {"Labels": {"rcc": 1}}}']
)
def test_configurations_that_say_nothing(graph: str, text: str) -> None:
    change(graph, "=", text)
    assert read_image(LABELLED, (graph,)) is None


def test_an_image_in_a_read_only_store(graph: str, tmp_path: Any) -> None:
    other = tmp_path / "shared"
    other.mkdir()
    shutil.move(os.path.join(graph, "overlay-images"), str(other / "overlay-images"))
    assert read_image(LABELLED, (graph,)) is None
    config = tmp_path / "etc" / "containers"
    config.mkdir(parents=True)
    (config / "storage.conf").write_text(f'[storage.options]\nadditionalimagestores = ["{other}"]\n')
    assert read_image(LABELLED, additional_stores(prefix=str(tmp_path))) is not None
    home = tmp_path / "home" / ".config" / "containers"
    home.mkdir(parents=True)
    (home / "storage.conf").write_text("[storage]\n")
    assert additional_stores(prefix=str(tmp_path), home=str(tmp_path / "home")) == ()


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", ()),
        ('additionalimagestores = [ ]\nx = "/no"', ()),
        ('# additionalimagestores = ["/no"]', ()),
        ('additionalimagestores = ["/a", "/b",]', ("/a", "/b")),
        ("additionalimagestores=['/a']", ("/a",)),
        ('additionalimagestores = [\n  "/a", # one\n  # "/no",\n  "/b"\n]\ny = "/no"', ("/a", "/b")),
        ('additionalimagestores = ["relative"]', ()),
    ],
)
def test_storage_conf(text: str, paths: Any) -> None:
    assert parse_additional_stores(text) == paths
