"""Lookup of images in a registry over plain HTTP, as in the embedded cluster."""

from http.client import HTTPConnection, HTTPException

from hack.cluster.faults import ClusterError

MANIFEST_TYPES = "application/vnd.oci.image.manifest.v1+json"
TIMEOUT_SECONDS = 10


def has_image(registry: str, name: str, tag: str) -> bool:
    """Return whether `registry` (host:port) has `name:tag`.

    Raises:
        ClusterError: there is no registry at this address.
    """
    connection = HTTPConnection(registry, timeout=TIMEOUT_SECONDS)
    try:
        connection.request(
            "HEAD", f"/v2/{name}/manifests/{tag}", headers={"Accept": MANIFEST_TYPES}
        )
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        raise ClusterError(
            f"the cluster's image registry at {registry} does not answer ({error}): "
            "is the cluster up? make cluster-up"
        ) from error
    finally:
        connection.close()
    if status not in (200, 404):
        raise ClusterError(f"the registry at {registry} answered {status} for {name}:{tag}")
    return status == 200
