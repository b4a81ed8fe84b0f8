"""CoreDNS: a process beside the node, behind the Service `kube-dns`."""

from __future__ import annotations

from pathlib import Path
from string import Template

import yaml

from hack.cluster.component import Component, Site, answers

COREFILE = """\
.:53 {{
  bind {address}
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig}
    ttl 2
  }}
  {outside}
  cache 2
  reload 2s
}}
"""


def dns(site: Site) -> list[Component]:
    """Return CoreDNS; names outside the cluster are refused at once unless egress is on."""
    text = COREFILE.format(
        address=site.addresses.cluster,
        kubeconfig=site.kubeconfig("coredns"),
        outside=f"forward . {site.state.host_resolvers}" if site.request.egress else "",
    )
    template = Template((Path(__file__).parent / "dns.yaml").read_text())
    manifests = template.substitute(
        dns_service=site.addresses.dns_service, address=site.addresses.cluster
    )
    objects = list(yaml.safe_load_all(manifests))
    command = (site.binary("coredns"), "-conf", site.write("Corefile", text))
    ready = answers("http://127.0.0.1:8181/ready")
    return [
        site.apply("kube-dns", *objects, after=("kube-apiserver",)),
        Component("coredns", command, after=("kube-dns",), probe=ready),
    ]
