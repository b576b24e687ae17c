#!/usr/bin/env bash
# After a copy of its stream, a video with signed Content Credentials is unsigned, not broken
# Harms: data
# Call: c2pa.Reader("video/mp4", file) on a signed MP4 that was copied packet by packet
# Guess: the reader reports that the signature no longer fits the file.
# Effect: 'nothing there' reads as 'never was'. A program that shows only broken signatures shows nothing for a fake whose label was dropped.
# Instead: treat a missing manifest as no statement, and add a watermark as well.
# xaifake: no, for a file without credentials it says 'none, like most files', and concludes nothing: tests/video/test_credentials.py::test_what_was_read_is_told
source "$(dirname "$0")/environment.bash" c2pa-python==0.38.1 cryptography==46.0.3 av==18.1.0 numpy==2.4.6
python - <<'PYTHON'
import datetime
import json
from importlib.metadata import version

import av
import c2pa
import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def certificate(name, key, issuer, signing, authority):
    def named(text):
        return x509.Name([x509.NameAttribute(o, text) for o in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)])

    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    made = x509.CertificateBuilder(named(issuer), named(name), key.public_key(), x509.random_serial_number(), now - day, now + day)
    made = made.add_extension(x509.BasicConstraints(authority, None), True)
    made = made.add_extension(x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False), True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), False)
    if not authority:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    return made.sign(signing, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def signature(data):
    return b"".join(n.to_bytes(32, "big") for n in utils.decode_dss_signature(mine.sign(data, ec.ECDSA(hashes.SHA256()))))


def state(name):
    with open(name, "rb") as file:
        try:
            return json.loads(c2pa.Reader("video/mp4", file).json())["validation_state"]
        except c2pa.C2paError as error:
            return str(error).split(":")[0]


root, mine = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
chain = certificate("me", mine, "root", root, False) + certificate("root", root, "root", root, True)
with av.open("fake.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.width = stream.height = 64
    for _ in range(25):
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
    container.mux(stream.encode())
source = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
created = {"label": "c2pa.actions", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}}
builder = c2pa.Builder(json.dumps({"claim_generator_info": [{"name": "x", "version": "1"}], "assertions": [created]}))
with open("fake.mp4", "rb") as given, open("signed.mp4", "w+b") as to:
    builder.sign(c2pa.Signer.from_callback(signature, c2pa.C2paSigningAlg.ES256, chain, None), "video/mp4", given, to)
with av.open("signed.mp4") as given, av.open("copy.mp4", "w") as container:
    stream = container.add_stream_from_template(given.streams.video[0])
    for packet in given.demux(given.streams.video[0]):
        if packet.dts is not None:
            packet.stream = stream
            container.mux(packet)
found = {name: state(name) for name in ("signed.mp4", "copy.mp4")}
print("c2pa-python", version("c2pa-python"), "av", av.__version__)
print("the reader says:", found)
assert found["signed.mp4"] == "Valid" and found["copy.mp4"] == "ManifestNotFound", "the reader says otherwise now"
print("The signed video is Valid; its copy, with the same packets, has no manifest.")
PYTHON
