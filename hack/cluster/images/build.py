"""Build of images that the chosen cluster can pull; only changed images are built."""

from dataclasses import dataclass
from pathlib import Path

from hack.cluster.faults import ClusterError
from hack.cluster.images import docker, registry
from hack.cluster.images.base import KEY as BASE_KEY
from hack.cluster.images.base import ensure_base
from hack.cluster.images.buildah import Store, one_builder
from hack.cluster.images.sources import MODEL_SERVER, OPERATOR, ImageSource
from hack.cluster.machine import packages
from hack.cluster.progress import say
from hack.cluster.target import Target, docker_answers, open_target
from hack.cluster.toolchain import cache_dir


@dataclass(frozen=True)
class Images:
    """References of the two images in pods.

    Attributes:
        operator: The operator's image.
        server: The bundled model server's image.
    """

    operator: str
    server: str


def built_images(target: Target | None = None) -> Images:
    """Build changed images and make them available to the cluster; return the references.

    Args:
        target: The cluster; default: the one named by DSO_CLUSTER. Its registry must be running.

    Raises:
        ClusterError: something is missing or a build failed.
    """
    target = target or open_target()
    with one_builder(cache_dir()):
        operator, server = (_provide(target, source) for source in (OPERATOR, MODEL_SERVER))
    return Images(operator, server)


def _provide(target: Target, source: ImageSource) -> str:
    match target.kind:
        case "embedded":
            return _to_embedded(target, source)
        case "kind":
            return _to_kind(target, source)
        case _:
            return _to_registry(target, source)


def _to_embedded(target: Target, source: ImageSource) -> str:
    tag = source.key(BASE_KEY)
    image = f"{target.registry_name}/{source.name}:{tag}"
    if registry.has_image(target.registry_push_host, source.name, tag):
        say(f"{image} is up to date")
    else:
        destination = f"{target.registry_push_host}/{source.name}:{tag}"
        _push_with_buildah(source, destination, plain_http=True)
    return image


def _to_kind(target: Target, source: ImageSource) -> str:
    image = f"{source.name}:{source.key(docker.BASE)}"
    if docker.has_image(image):
        say(f"{image} is up to date")
    else:
        docker.build(source, image, _log(source))
    docker.load_into_kind(image, target.kind_cluster, _log(source))
    return image


def _to_registry(target: Target, source: ImageSource) -> str:
    """Push to an external registry, with the credentials of docker or buildah."""
    if not target.registry_name:
        raise ClusterError(
            "CLUSTER=current needs a registry that this machine can push to and the cluster can "
            "pull from: make images CLUSTER=current IMAGE_REGISTRY=registry.example.com/team"
        )
    name = f"{target.registry_name}/{source.name}"
    if docker_answers():
        image = f"{name}:{source.key(docker.BASE)}"
        if not docker.has_image(image):
            docker.build(source, image, _log(source))
        docker.push(image, _log(source))
    else:
        image = f"{name}:{source.key(BASE_KEY)}"
        _push_with_buildah(source, image, plain_http=False)
    return image


def build_ahead() -> None:
    """Build images for a future embedded cluster; `built_images` finds and pushes them.

    Raises:
        ClusterError: something is missing or a build failed.
    """
    if open_target().kind != "embedded":
        return
    with one_builder(cache_dir()):
        for source in (OPERATOR, MODEL_SERVER):
            _with_buildah(source)


def _push_with_buildah(source: ImageSource, destination: str, *, plain_http: bool) -> None:
    store, local = _with_buildah(source)
    store.push(local, destination, plain_http=plain_http, log=_log(source))


def _with_buildah(source: ImageSource) -> tuple[Store, str]:
    """Build an image of the present sources; return its store and its name there."""
    packages.ensure(["images"])
    cache = cache_dir()
    log = _log(source)
    store = Store(cache / "buildah", cache / "uv")
    local = f"localhost/{source.name}:{source.key(BASE_KEY)}"
    if not store.has(local):
        store.build(source, ensure_base(store, cache / "base", log), local, log)
    return store, local


def _log(source: ImageSource) -> Path:
    return cache_dir() / "logs" / f"image-{source.name}.log"
