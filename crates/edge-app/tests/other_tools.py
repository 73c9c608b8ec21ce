"""Image, run specification and signature as other tools make them: cosign with the
annotations of docs/signatures.md, and a tool for artifacts. Only the standard library and
openssl; nothing of this repository is called or copied.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import ssl
import subprocess
import urllib.request

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
RUN = "application/vnd.edge-ai.run.v1+json"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True, help="https://HOST:PORT/v2/NAME")
    parser.add_argument("--repository", required=True, help="name of the repository that is signed")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--password", required=True, help="file with the password of the user AWS")
    parser.add_argument("--key", required=True, help="private key, PEM")
    parser.add_argument("--layer", required=True, help="tar archive of the image")
    parser.add_argument("--app", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--number", required=True, help="release number")
    parser.add_argument("--grants", default="")
    parser.add_argument("--run", required=True, help="file with the run specification")
    parser.add_argument("--without-artifact", action="store_true")
    return parser.parse_args()


class Registry:
    """Client of a registry, OCI distribution specification 1.1."""

    def __init__(self, args):
        self.url = args.url
        self.context = ssl.create_default_context(cafile=args.ca)
        password = pathlib.Path(args.password).read_text().strip()
        self.login = "Basic " + base64.b64encode(b"AWS:" + password.encode()).decode()

    def send(self, method, url, data=b"", kind="application/octet-stream"):
        headers = {"Authorization": self.login, "Content-Type": kind}
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, context=self.context, timeout=60) as response:
            return response.headers

    def blob(self, data, kind):
        """Uploads a blob; returns its descriptor."""
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        place = self.send("POST", self.url + "/blobs/uploads/")["Location"]
        # The name of the registry in its own answers needs a proxy.
        place = self.url.split("/v2/")[0] + "/v2/" + place.split("/v2/", 1)[1]
        mark = "&" if "?" in place else "?"
        self.send("PUT", place + mark + "digest=" + digest, data)
        return {"mediaType": kind, "size": len(data), "digest": digest}

    def manifest(self, tag, config, layers, **more):
        """Puts a manifest under a tag; returns its digest."""
        body = {"schemaVersion": 2, "mediaType": MANIFEST, **more, "config": config, "layers": layers}
        data = json.dumps(body).encode()
        self.send("PUT", self.url + "/manifests/" + tag, data, MANIFEST)
        return "sha256:" + hashlib.sha256(data).hexdigest()


def image(registry, args):
    layer = pathlib.Path(args.layer).read_bytes()
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }
    config = registry.blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    layer = registry.blob(layer, "application/vnd.oci.image.layer.v1.tar")
    return registry.manifest(args.app + "-" + args.version, config, [layer])


def artifact(registry, document):
    empty = registry.blob(b"{}", "application/vnd.oci.empty.v1+json")
    layer = registry.blob(document, RUN)
    tag = "sha256-" + hashlib.sha256(document).hexdigest() + ".run"
    registry.manifest(tag, empty, [layer], artifactType=RUN)


def signature(registry, args, digest, document):
    """As `cosign sign --key KEY -a NAME=VALUE …` of version 2 without a transparency log."""
    annotations = {
        "edge.app": args.app, "edge.grants": args.grants, "edge.serial": args.number,
        "edge.version": args.version, "edge.run": "sha256:" + hashlib.sha256(document).hexdigest(),
    }
    payload = {
        "critical": {
            "identity": {"docker-reference": args.repository},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": annotations,
    }
    payload = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    sign = ["openssl", "dgst", "-sha256", "-sign", args.key]
    signed = subprocess.run(sign, input=payload, stdout=subprocess.PIPE, check=True).stdout
    layer = registry.blob(payload, "application/vnd.dev.cosign.simplesigning.v1+json")
    layer["annotations"] = {"dev.cosignproject.cosign/signature": base64.b64encode(signed).decode()}
    config = {
        "architecture": "", "os": "", "config": {}, "created": "0001-01-01T00:00:00Z",
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    }
    config = registry.blob(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    registry.manifest(digest.replace(":", "-") + ".sig", config, [layer])


def main():
    args = arguments()
    registry = Registry(args)
    document = pathlib.Path(args.run).read_bytes()
    digest = image(registry, args)
    if not args.without_artifact:
        artifact(registry, document)
    signature(registry, args, digest, document)
    print(digest)


if __name__ == "__main__":
    main()
