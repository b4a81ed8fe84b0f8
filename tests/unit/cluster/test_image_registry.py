"""The builder's lookup in the cluster's registry before a build."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from hack.cluster.faults import ClusterError
from hack.cluster.images.registry import has_image


class Registry(BaseHTTPRequestHandler):
    def do_HEAD(self):
        known = {"/v2/image/manifests/here": 200, "/v2/image/manifests/broken": 500}
        self.send_response(known.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_):
        """Suppress the log."""


@pytest.fixture(scope="module")
def address():
    server = HTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_present_and_absent_images(address):
    assert has_image(address, "image", "here")
    assert not has_image(address, "image", "elsewhere")


def test_a_broken_registry_is_not_treated_as_empty(address):
    with pytest.raises(ClusterError, match="answered 500"):
        has_image(address, "image", "broken")


def test_no_registry():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ClusterError, match="does not answer"):
        has_image(address, "image", "here")
