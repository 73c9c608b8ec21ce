"""Proof of possession for the renewal of a device's certificate: an ECDSA signature (P-256,
SHA-256) by the current key over thing name, line feed and new public key.

Lambda's Python has no library for this. All values are public, so the arithmetic needs no
protection against timing attacks; malformed input is an invalid proof. Sources: SEC 1 v2 (4.1.4), RFC 3279 (2.2.3), RFC 5280 (4.1), RFC 5480.
"""

import base64
import hashlib
import ssl

# P-256 (SEC 2, 2.4.2).
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)
# SubjectPublicKeyInfo of a P-256 key up to the coordinates of the point.
HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
MAX_CERTIFICATE_CHARS = 16384


def holds(proof, thing, present, new):
    """Returns whether `proof` (Base64) is a signature by the key of certificate `present`
    over the name `thing` and the public key of certificate `new` (both PEM)."""
    try:
        signature = base64.b64decode(proof, validate=True)
        point, key = point_of(public_key(present)), public_key(new)
        return verify(point, f"{thing}\n".encode() + key, signature)
    except (ValueError, TypeError, IndexError):
        return False


def public_key(pem):
    """Returns the SubjectPublicKeyInfo of a certificate, DER."""
    if len(pem) > MAX_CERTIFICATE_CHARS:
        raise ValueError("too long")
    certificate = only(ssl.PEM_cert_to_DER_cert(pem), 0x30)
    rest = element(certificate, 0x30)[0]
    if rest[0] == 0xA0:
        rest = element(rest, 0xA0)[1]
    # Serial number, algorithm, issuer, validity, subject.
    for tag in (0x02, 0x30, 0x30, 0x30, 0x30):
        rest = element(rest, tag)[1]
    return rest[:len(rest) - len(element(rest, 0x30)[1])]


def point_of(key):
    """Returns the point of a public key, which must be on the curve."""
    if len(key) != len(HEAD) + 64 or not key.startswith(HEAD):
        raise ValueError("not a P-256 key")
    x, y = (int.from_bytes(key[at:at + 32], "big") for at in (len(HEAD), len(HEAD) + 32))
    if x >= P or y >= P or (y * y - x * x * x + 3 * x - B) % P:
        raise ValueError("not on the curve")
    return x, y


def verify(point, message, signature):
    """Returns whether an ECDSA signature with SHA-256 is valid."""
    both = only(signature, 0x30)
    r, rest = element(both, 0x02)
    r, s = whole(r), whole(only(rest, 0x02))
    if not (0 < r < N and 0 < s < N):
        return False
    inverse = pow(s, -1, N)
    hashed = int.from_bytes(hashlib.sha256(message).digest(), "big")
    x, _, z = combine(hashed * inverse % N, r * inverse % N, point)
    return z != 0 and x * pow(z * z, -1, P) % P % N == r


def combine(one, two, point):
    """Returns one·G + two·point in one pass (Shamir's trick)."""
    base, point = (*G, 1), (*point, 1)
    both, total = add(base, point), (0, 1, 0)
    for bit in reversed(range(256)):
        total = double(total)
        bits = (one >> bit & 1, two >> bit & 1)
        if any(bits):
            total = add(total, {(1, 0): base, (0, 1): point, (1, 1): both}[bits])
    return total


def double(point):
    """Doubles a point in Jacobian coordinates; z = 0 is the point at infinity."""
    x, y, z = point
    a, b = 4 * x * y * y % P, 3 * (x - z * z) * (x + z * z) % P
    x3 = (b * b - 2 * a) % P
    return x3, (b * (a - x3) - 8 * pow(y, 4, P)) % P, 2 * y * z % P


def add(one, two):
    """Adds points in Jacobian coordinates."""
    (x1, y1, z1), (x2, y2, z2) = one, two
    if z1 == 0 or z2 == 0:
        return two if z1 == 0 else one
    u1, u2 = x1 * z2 * z2 % P, x2 * z1 * z1 % P
    s1, s2 = y1 * pow(z2, 3, P) % P, y2 * pow(z1, 3, P) % P
    if u1 == u2:
        return double(one) if s1 == s2 else (0, 1, 0)
    h, r = u2 - u1, s2 - s1
    x3 = (r * r - h**3 - 2 * u1 * h * h) % P
    return x3, (r * (u1 * h * h - x3) - s1 * h**3) % P, h * z1 * z2 % P


def whole(number):
    """Returns a positive DER integer, which must be in its shortest form."""
    if not number or number[0] & 0x80 or (len(number) > 1 and not number[0] and not number[1] & 0x80):
        raise ValueError("not a positive number in its shortest form")
    return int.from_bytes(number, "big")


def only(data, tag):
    """Returns the content of one DER element without trailing data."""
    content, rest = element(data, tag)
    if rest:
        raise ValueError("more than one element")
    return content


def element(data, tag):
    """Returns the content of the first DER element and the data after it."""
    if data[0] != tag:
        raise ValueError("unexpected tag")
    length, start = data[1], 2
    if length > 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(data[2:start], "big")
        if start > 4 or length < 0x80 or (start == 4 and length < 0x100):
            raise ValueError("length not in its shortest form")
    elif length == 0x80:
        raise ValueError("indefinite length")
    if start + length > len(data):
        raise ValueError("truncated")
    return data[start:start + length], data[start + length:]
