"""Writes vectors.txt: a handshake of each kind and a packet, computed from SPEC.md alone.

An implementation of its own of sections 5 and 6, over Python's `cryptography`, so that the vectors
prove more than that the Rust code agrees with itself. Run: python3 make.py > vectors.txt
"""

import hashlib
import hmac
import zlib

from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PROTOCOL_ID = b"tertulia-proto-1"
RAW = (ser.Encoding.Raw, ser.PublicFormat.Raw)


def public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(*RAW)


def dh(secret, peer):
    return X25519PrivateKey.from_private_bytes(secret).exchange(
        X25519PublicKey.from_public_bytes(peer))


def ephemeral(seed):
    """The first 32 bytes of ChaCha20 under the seed."""
    return Cipher(algorithms.ChaCha20(seed, bytes(16)), None).encryptor().update(bytes(32))


def hmac256(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def hkdf(key, data, count):
    temp, out, last = hmac256(key, data), [], b""
    for i in range(1, count + 1):
        last = hmac256(temp, last + bytes([i]))
        out.append(last)
    return out


class Noise:
    """Noise's SymmetricState."""

    def __init__(self, name, prologue):
        self.h = self.ck = name.ljust(32, b"\0")  # both names have fewer than 32 bytes
        self.k = None
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def mix_key(self, data):
        self.ck, self.k = hkdf(self.ck, data, 2)
        self.n = 0

    def seal(self, plain):
        sealed = plain
        if self.k:
            nonce = bytes(4) + self.n.to_bytes(8, "big")
            sealed = AESGCM(self.k).encrypt(nonce, plain, self.h)
            self.n += 1
        self.mix_hash(sealed)
        return sealed


def handshake_datagram(body):
    return body + zlib.crc32(PROTOCOL_ID + body).to_bytes(4, "big")


def sized16(data):
    return len(data).to_bytes(2, "big") + data


def hello(offer, noise, mac1_key):
    body = b"\x01" + offer + b"\0" + sized16(noise) + b"\0\0"
    body += bytes(max(0, 256 - 16 - 4 - len(body)))
    mac1 = hmac256(mac1_key, body)[:16] if mac1_key else bytes(16)
    return handshake_datagram(body + mac1)


def main():
    account_seed, device, broker = bytes([1] * 32), bytes([2] * 32), bytes([3] * 32)
    node_seed, broker_seed = bytes([4] * 32), bytes([5] * 32)
    cid, broker_payload = bytes([0xC1, 0xC2, 0xC3]), bytes([6] * 8 + [7] * 16 + [8] * 16)

    account = Ed25519PrivateKey.from_private_bytes(account_seed)
    certificate = account.sign(b"tertulia device 1" + public(device))
    node_payload = account.public_key().public_bytes(*RAW) + certificate
    e, re = ephemeral(node_seed), ephemeral(broker_seed)
    out = {}

    # XX: -> e, <- e ee s es, -> s se.
    offer = bytes([1, 0, 1, 1, 1, 1, 1, len(cid)]) + cid
    n = Noise(b"Noise_XX_25519_AESGCM_SHA256", PROTOCOL_ID + offer)
    n.mix_hash(public(e))
    out["xx_hello"] = hello(offer, public(e) + n.seal(b""), None)
    n.mix_hash(public(re))
    n.mix_key(dh(e, public(re)))
    message = public(re) + n.seal(public(broker))
    n.mix_key(dh(e, public(broker)))
    message += n.seal(broker_payload)
    out["xx_accept"] = handshake_datagram(b"\x02\x01\x03" + cid + sized16(message))
    message = n.seal(public(device))
    n.mix_key(dh(device, public(re)))
    message += n.seal(node_payload)
    out["xx_finish"] = handshake_datagram(b"\x03\x01" + broker_payload[:8] + sized16(message))
    out["xx_from_node"], out["xx_from_broker"] = hkdf(n.ck, b"", 2)

    # IK: <- s (known before), -> e es s ss, <- e ee se.
    offer = bytes([1, 1, 1, 1, 1, 1, 1, len(cid)]) + cid
    n = Noise(b"Noise_IK_25519_AESGCM_SHA256", PROTOCOL_ID + offer)
    n.mix_hash(public(broker))
    n.mix_hash(public(e))
    n.mix_key(dh(e, public(broker)))
    message = public(e) + n.seal(public(device))
    n.mix_key(dh(device, public(broker)))
    message += n.seal(node_payload)
    mac1_key = hashlib.sha256(b"tertulia mac1" + public(broker)).digest()
    out["ik_hello"] = hello(offer, message, mac1_key)
    n.mix_hash(public(re))
    n.mix_key(dh(e, public(re)))
    n.mix_key(dh(device, public(re)))
    message = public(re) + n.seal(broker_payload)
    out["ik_accept"] = handshake_datagram(b"\x02\x01\x03" + cid + sized16(message))
    out["ik_from_node"], out["ik_from_broker"] = hkdf(n.ck, b"", 2)

    # Packet 0x123456 from the node to the broker, with a number of two bytes: a PING.
    secret, number = out["ik_from_node"], 0x123456
    key, iv, hp = (hmac256(secret, b"tertulia " + info + b"\x01")[:size]
                   for info, size in ((b"key 0", 32), (b"iv 0", 12), (b"hp", 32)))
    header = b"\x81" + broker_payload[:8] + number.to_bytes(4, "big")[2:]
    nonce = bytes(a ^ b for a, b in zip(iv, number.to_bytes(12, "big")))
    packet = bytearray(header + AESGCM(key).encrypt(nonce, b"\x01\x00", header))
    ecb = Cipher(algorithms.AES(hp), modes.ECB()).encryptor()
    mask = ecb.update(bytes(packet[9 + 4:9 + 20]))
    packet[0] ^= mask[0] & 0x1F
    packet[9] ^= mask[1]
    packet[10] ^= mask[2]
    out["packet"] = bytes(packet)

    for name, value in out.items():
        print(name, value.hex())


main()
